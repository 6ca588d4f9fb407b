"""A first token: log in, look at the token, go on with the session.

    pip install grpcio-tools googleapis-common-protos
    python examples/python/first_token.py [HOST:PORT]
"""

import sys

sys.path += ["proto", "third_party"]  # Compiled on the fly here; a real client generates its stubs once.
import grpc

api, services = grpc.protos_and_services("token_authority/v1/token_service.proto")
authority = services.TokenServiceStub(grpc.insecure_channel((sys.argv + ["127.0.0.1:50051"])[1]))

tokens = authority.IssueToken(api.IssueTokenRequest(subject="alice", audience=["shop"], scope=["read"])).tokens
print("access token until ", tokens.access_expire_time.ToJsonString())

seen = authority.IntrospectToken(api.IntrospectTokenRequest(token=tokens.access_token))
print("active:", seen.active, "subject:", seen.subject, "scope:", *seen.scope)

# Each refresh token is good for one use; the answer brings the next.
tokens = authority.RefreshToken(api.RefreshTokenRequest(refresh_token=tokens.refresh_token)).tokens
print("refreshed, refresh again after", tokens.refresh_after_time.ToJsonString())
