"""A verifier in wide use checks tokens by the key set alone (PyJWT).

python key_set.py ISSUER TOKEN
"""

import sys

import jwt

issuer, token = sys.argv[1:]
key = jwt.PyJWKClient(issuer + "/.well-known/jwks.json").get_signing_key_from_jwt(token)
assert key.algorithm_name == "RS256", key.algorithm_name
claims = jwt.decode(token, key, algorithms=["RS256"], issuer=issuer, audience="orders", options={"require": ["exp", "sub"]})
print("verified for", claims["sub"])

try:
    jwt.decode(token, key, algorithms=["RS256"], issuer=issuer, audience="mail")
except jwt.InvalidAudienceError:
    print("refused for another audience")

head, payload, signature = token.split(".")
try:
    jwt.decode(".".join([head, payload, signature[:-8] + "AAAAAAAA"]), key, algorithms=["RS256"], audience="orders")
except jwt.InvalidSignatureError:
    print("refused when changed")
