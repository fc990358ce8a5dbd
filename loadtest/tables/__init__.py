"""Files of rows and columns, streamed, whatever their form and packing.

`table.read_columns` reads named columns of CSV and its kin, JSON and Parquet.
"""
