"""An HTTP service that checks access tokens by itself: it asks nobody about a token, and yet refuses revoked ones.

    make run                                                    # in another terminal
    pip install grpcio-tools googleapis-common-protos 'PyJWT[crypto]'
    python examples/python/protected_service.py --audience default
    curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:7001/orders
"""

import argparse, http.server

import jwt

from authority import Authority

ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]  # Whatever a token says, no other.
CLAIMS = ["iss", "aud", "exp", "sub", "jti", "client_id"]


class Orders(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, text = self.answer()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(text.encode())

    def answer(self):
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return 401, "no token\n"
        if authority.staleness() > options.max_staleness:
            return 503, "revocations are not known\n"  # A service may also introspect now.
        try:
            claims = verify(token)
        except (jwt.InvalidTokenError, KeyError):
            return 401, "not valid\n"
        return 200, f"for {claims['sub']}\n"


def verify(token):
    key_id = jwt.get_unverified_header(token)["kid"]
    checks = {"algorithms": ALGORITHMS, "issuer": options.issuer, "audience": options.audience}
    rules = {"require": CLAIMS, "verify_iat": False}  # A clock that is a little behind refuses nothing.
    seen = jwt.decode_complete(token, authority.keys[key_id], options=rules, **checks)
    claims = seen["payload"]
    if seen["header"].get("typ") != "at+jwt":
        raise jwt.InvalidTokenError("no access token")
    if "cnf" in claims:
        raise jwt.InvalidTokenError("bound to a key, of which this service sees no proof")
    if authority.has_ended(key_id, claims):
        raise jwt.InvalidTokenError("revoked")
    return claims


parser = argparse.ArgumentParser()
parser.add_argument("--authority", default="127.0.0.1:50051")
parser.add_argument("--issuer", default="http://127.0.0.1:8080")
parser.add_argument("--audience", required=True)
parser.add_argument("--port", type=int, default=7001)
parser.add_argument("--max-staleness", type=float, default=10, help="in seconds")
options = parser.parse_args()
authority = Authority(options.authority)
server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Orders)
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
