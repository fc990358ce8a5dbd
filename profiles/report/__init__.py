"""What a reader sees: words (`text`), pictures (`charts`), pages (`html`)."""
