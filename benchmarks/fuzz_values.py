"""What fields are filled with: JSON values as bytes, most of them wrong wherever they stand.

Not all of them are JSON: what a parser takes for a value is hostile, too.
"""

EMOJI = "\N{GRINNING FACE}".encode()
FIELDS = [
    "prompt", "model", "n", "size", "response_format", "output_format", "output_compression",
    "stream", "partial_images", "background", "quality", "style", "moderation", "complexity",
    "user", "safety_identifier", "negative_prompt", "num_inference_steps", "guidance_scale",
    "seed", "scheduler", "priority", "deadline_s",
]  # fmt: skip
# Of other servers, of Python's and JavaScript's objects, and no names at all
STRANGERS = [
    "steps", "image", "mask", "extra_body", "__proto__", "__class__", "constructor", "Prompt",
    "prompt ", "", "\\u0000", "\\ud800", "$ref", "self", "n\\u0000", "a" * 60_000,
]  # fmt: skip

NUMBERS = b"""
0 -0 -1 1 2 3 4 10 11 100 101 150 151 1.0 1.5 -1.5 1e0 1e1 0.1e2 1E400 -1E400 1e-400 5e-324 NaN
Infinity -Infinity nan 2147483647 2147483648 9007199254740992 9007199254740993
9223372036854775807 9223372036854775808 18446744073709551615 18446744073709551616
-9223372036854775809 1e19 1.8446744073709552e19 0x10 01 +1 .5 5. 1_000 1,0 --1 1e 0.000001 86400
86401 100.00000000000001
""".split()
WORDS = b"""
null true false True None undefined [] [1] ["a"] [[]] [null] {} {"a":1} {"$ref":"#"}
{"__proto__":{}} "" " " "0" "1" "1.0" "-1" "true" "null" "NaN" "auto" "none" "512x512" "64x64"
"64x128" "128x64" "0x0" "-1x-1" "1x1" "63x64" "65x65" "72x64" "64x" "x64" "64X64" "64x64x64"
"99999x99999" "1e2x1e2" "0064x64" "64.0x64" " 64x64" "64x64\\n" "2048x2048" "1024x1024" "png"
"PNG" "jpeg" "jpg" "webp" "gif" "svg" "url" "b64_json" "transparent" "opaque" "ddim" "euler"
"dpm++2m" "flow-euler" "DDIM" "stub" "tiny" "sdxl" "paying" "free" "hd" "low" "vivid"
""".split()
TEXTS = [
    b'"\\u0000"', b'"a\\u0000b"', b'"\\u200b"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud800x"',
    b'"\\ud83d\\ude00"', b'"%b"' % EMOJI, b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\xaf"',
    b'"\xf4\x90\x80\x80"', b'"\xef\xbb\xbf"', b'"\\ufeff"', b'"\\ufffe"', b'"\xe2\x80\xae"',
    b'"e\xcc\x81\xcc\x81\xcc\x81"', b'"\n"', b'"\t"', b'"\x7f"', b'"\x00"', b'"\\u001b[2J"',
    b'"\\x41"', b'"\\u12"', b'"\\', b'"', b"'x'", b'"\\""', b'"\\\\"', b'"</script><script>"',
    b'"../../etc/passwd"', b'"${jndi:ldap://x}"', b'"%s%n%x"', b'"{0.__class__}"',
    b'"\' OR 1=1 --"', b'"\\r\\nX-Evil: 1\\r\\n"', b'"\xd9\xa6\xd9\xa4x\xd9\xa6\xd9\xa4"',
    b'"\xef\xbc\x91\xef\xbc\x92\xef\xbc\x98x128"',
]  # fmt: skip
LONG = [
    b"9" * 5000, b"-" + b"9" * 5000, b"1" + b"0" * 400, b"0." + b"0" * 5000 + b"1",
    b"1e" + b"9" * 500, b'"%b"' % (b"a" * 4000), b'"%b"' % (b"a" * 4001), b'"%b"' % (b"a" * 90_000),
    b'"%b"' % (EMOJI * 4000), b'"%b"' % (EMOJI * 4001), b'"%b"' % (b"\\u0001" * 4000),
    b'"%b"' % (b" " * 4000), b'"%b"' % (b"9" * 5000 + b"x64"), b"[" * 100 + b"]" * 100,
    b"[" * 10_000 + b"]" * 10_000, b"[" * 40_000 + b"]" * 40_000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b"[" * 90_000, b"[" + b"1," * 20_000 + b"1]", b'"' + b"\\ud83d\\ude00" * 4000 + b'"',
]  # fmt: skip
VALUES = [*NUMBERS, *WORDS, *TEXTS, *LONG]

VALID = {
    "prompt": [b'"a red fox"', b'"\\u72d0"', EMOJI.join([b'"', b'"'])],
    "model": [b"null"],
    "n": [b"1", b"2", b"1.0", b"null"],
    "size": [b'"64x64"', b'"128x64"', b'"auto"', b"null"],
    "response_format": [b'"b64_json"', b"null"],
    "output_format": [b'"png"', b'"jpeg"', b'"webp"'],
    "output_compression": [b"100", b"null"],
    "stream": [b"true", b"false", b"null"],
    "partial_images": [b"0", b"null"],
    "background": [b'"auto"', b'"opaque"'],
    "quality": [b'"low"'],
    "user": [b'"u-1"'],
    "negative_prompt": [b'"blurry"', b'""'],
    "num_inference_steps": [b"1", b"2", b"4"],
    "guidance_scale": [b"0", b"1", b"7.5", b"100"],
    "seed": [b"0", b"-1", b"18446744073709551615", b"null"],
    "scheduler": [b"null"],
    "priority": [b'"paying"', b'"free"'],
    "deadline_s": [b"30", b"86400", b"0.001"],
}
