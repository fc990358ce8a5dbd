"""Lines and bytes that hostile HTTP is made of: most of them no HTTP, or odd. Pure."""

from benchmarks.fuzz_bodies import PLAIN
from benchmarks.fuzz_case import GENERATIONS, request

MODELS = request("GET", "/v1/models")
END = b"\r\n0\r\n\r\n"  # of a chunk and of all
TE = b"Transfer-Encoding: chunked\r\n"
KNOWN = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")
METHODS = [*KNOWN, "PROPFIND", "FOO", "get", "PRI", "M-SEARCH", "A" * 200]
PATHS = [
    GENERATIONS, GENERATIONS + "/", GENERATIONS + "?a=b&%ff", "/" + GENERATIONS, "/v1/models",
    "/v1/models/", "/v1/models/stub", "/v1/models/%ff%00", "/v1/models/" + "a" * 5000, "/v1",
    "/v1/models/../../etc/passwd", "/v1/models/%2e%2e%2f", "/v1/images/edits", "/docs", "/metrics",
    "/openapi.json", "/-/routes", "/-/healthz", "/%2d/routes", "/-", "//-/routes", "/./-/routes",
    "/v1/../-/routes", "/health", "/health/", "/HEALTH", "/", "*", "/?" + "a=b&" * 4000,
    "/\xff\xfe", "/%", "/%zz", "/v1/models/\xe2\x80\xae", "/v1;x=1/models", "/v1%2fmodels",
    "http://x/v1/models", "http://x/-/routes", "/favicon.ico", "/.git/config", "/api/serve",
]  # fmt: skip
LINES = [
    b"", b"GET", b"GET /", b"GET /v1/models", b"GET  /v1/models HTTP/1.1", b"GET\t/ HTTP/1.1",
    b"GET /v1/models HTTP/1.1 ", b" GET / HTTP/1.1", b"GET / HTTP/1.2", b"GET / HTTP/9.9",
    b"GET / HTTP/2.0", b"GET / HTTP/0.9", b"GET / http/1.1", b"GET / HTTP/1.10", b"GET / HTTPS/1.1",
    b"GET / HTTP/1", b"GET /a b HTTP/1.1", b"GET /\x00 HTTP/1.1", b"GET /\x7f HTTP/1.1",
    b"GET /\r HTTP/1.1", b"G\x00T / HTTP/1.1", b"G T / HTTP/1.1", b"\xff / HTTP/1.1",
    b"GET x:80 HTTP/1.1", b"GET # HTTP/1.1", b"GET /#a HTTP/1.1", b"GET http:// HTTP/1.1",
    b"GET http://a:b@c/ HTTP/1.1", b"GET http://[::1 HTTP/1.1", b"CONNECT / HTTP/1.1",
    b"CONNECT x HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET * HTTP/1.1", b"A" * 70_000,
    b"GET /" + b"a" * 60_000 + b" HTTP/1.1", b"GET /" + b"a" * 200_000 + b" HTTP/1.1",
    b"HTTP/1.1 200 OK", b"\r\n\r\nGET / HTTP/1.1", b"\nGET / HTTP/1.1",
]  # fmt: skip
HEADERS = [
    b"", b"a", b": b", b"a b: c", b"a : b", b"a\t: b", b" a: b", b"a: b\r\n c", b"a: b\r\n\tc",
    b"a: \x00", b"a: \x01\x02", b"a: \x7f", b"a: \xff\xfe", b"\xff: a", b"a\x00: b", b"a: b\rc: d",
    b"a: b\nc: d", b"a:b", b"a:", b"a: " + b"b" * 60_000, b"a: " + b"b" * 200_000,
    b"b" * 60_000 + b": a", b"Host: y", b"Host: x", b"Host:", b"Host: \xff", b"Host: a b",
    b"Host: x:99999", b"Host: [::1", b"(a): b", b"a@: b", b'"a": b', b"a\\: b", b"Connection: a",
    b"Connection: close, keep-alive", b"Connection: Host", b"Connection: Content-Length",
    b"Connection: \xff", b"Keep-Alive: timeout=-1", b"Proxy-Connection: x", b"TE: trailers",
    b"Trailer: Content-Length", b"Max-Forwards: 0", b"Date: x", b"Via: 1.1 x", b"Forwarded: for=_",
    b"X-Forwarded-For: \xff", b"Proxy: http://evil", b"Accept: \xff", b"User-Agent: ",
    *(b"\r\n".join(b"a%d: b" % k for k in range(count)) for count in (90, 101, 200, 5000)),
    b"\r\n".join([b"a: b"] * 95),
]  # fmt: skip
RAYS = [
    b"X-Request-ID", b"x-request-id", b"serve_multiplexed_model_id", b"Serve-Multiplexed-Model-Id",
    b"X-Request-Timeout-Seconds", b"X-Request-Disconnect-Disabled", b"X-Session-Id",
    b"x_session_id", b"X-Serve-Router-Any", b"traceparent", b"tracestate", b"baggage",
]  # fmt: skip
LENGTHS = [
    b"Content-Length: \r\n", b"Content-Length: -1\r\n", b"Content-Length: +37\r\n",
    b"Content-Length: 0x25\r\n", b"Content-Length: 37.0\r\n", b"Content-Length: 3 7\r\n",
    b"Content-Length: 1e2\r\n", b"Content-Length: a\r\n", b"Content-Length: 37, 37\r\n",
    b"Content-Length: 37, 5\r\n", b"Content-Length: 37\r\nContent-Length: 37\r\n",
    b"Content-Length: 37\r\nContent-Length: 5\r\n", b"Content-Length: " + b"9" * 5000 + b"\r\n",
    b"Content-Length: 18446744073709551653\r\n", b"Content-Length: 9223372036854775807\r\n",
    b"Content-Length: " + b"0" * 500 + b"37\r\n", b"Content-Length: \xb2\r\n",
    b"Content-Length : 37\r\n", b"Content-Length: 37;\r\n", b"Content-Length:\t37\r\n",
    b"Content-Length: 104193\r\n", b"Content-Length: 10000000000\r\n", b"",
    b"Content_Length: 37\r\n",
]  # fmt: skip
CHUNKS = [
    b"zz\r\n" + PLAIN + END, b"25\r\n" + PLAIN + b"0\r\n\r\n",
    b"26\r\n" + PLAIN + END, b"24\r\n" + PLAIN + END,
    b"-25\r\n" + PLAIN + END, b"+25\r\n" + PLAIN + END,
    b"0x25\r\n" + PLAIN + END, b"25 \r\n" + PLAIN + END,
    b" 25\r\n" + PLAIN + END, b"25\n" + PLAIN + b"\n0\n\n",
    b"25;" + b"a" * 70_000 + b"\r\n" + PLAIN + END, b"25;a=\x00\r\n" + PLAIN + END,
    b"ffffffffffffffff\r\n" + PLAIN, b"ffffffffffffffffffffffff\r\n" + PLAIN,
    b"7fffffff\r\n" + PLAIN,
    b"00000000000000000000000000000025\r\n" + PLAIN + END, b"\r\n", b"0\r\n", b"0\r\n\r",
    b"25\r\n" + PLAIN + b"\r\n0\r\nContent-Length: 5\r\n\r\n",
    b"25\r\n" + PLAIN + b"\r\n0\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
    b"25\r\n" + PLAIN + b"\r\n0\r\n\xff\r\n\r\n", b"1\r\n{\r\n" * 60_000,
    b"25\r\n" + PLAIN + b"\r\n",
]  # fmt: skip
CODINGS = [
    TE, b"transfer-encoding: Chunked\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding: identity, chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding:\tchunked\r\n", b"Transfer-Encoding: \x0bchunked\r\n",
    b"Transfer-Encoding: chunked\x00\r\n", b"Transfer-Encoding:\r\n chunked\r\n",
    b"X: y\rTransfer-Encoding: chunked\r\n", b"X: y\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", b" Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", b"Transfer_Encoding: chunked\r\n",
    b'Transfer-Encoding: "chunked"\r\n', b"Transfer-Encoding: chunked;a=b\r\n",
    b"Content-Length: 0\r\n", b"Content-Length: 6\r\nContent-Length: 0\r\n", b"",
]  # fmt: skip
# One length and no coding, or the same length twice: what follows is a request of its own.
UNAMBIGUOUS = [b"", b"Content-Length: 0\r\n", b"Transfer_Encoding: chunked\r\n"]
OTHERS = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + MODELS,
    b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c" + bytes(12) + MODELS,
    b"SSH-2.0-OpenSSH_9.6\r\n", b"show info\n", b"*1\r\n$4\r\nINFO\r\n", b"EHLO x\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
    b"\0\0\0\4\0\0\0\0\0", b"\xff\0\0\0\0\0\0\0\1\x7f", b"AMQP\0\0\x09\1", b"\0" * 1000,
    b"\n" * 5000,
    b"\r\n" * 5000, b"GET " * 5000, b"\r" * 100, b"{}\r\n\r\n", b"<policy-file-request/>\0",
]  # fmt: skip
