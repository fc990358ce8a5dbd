"""How a worker and a master prove to each other that they know the run's token. Pure.

    worker                                   master
    Hello: a nonce                      ->
                                        <-   Challenge: its nonce, hashes of job and schedule
    Prove: HMAC("worker", all of these) ->
                                        <-   Welcome: HMAC("master", all of these), the job

The token never crosses the wire, no proof fits another meeting, and a master's is none of a
worker's. Who relays the words of both can read them and end the run, but cannot put another target
or another schedule into a job that a worker believes. Without a token both proofs are worth
nothing; see `loadtest.distributed.allowed_targets`.
"""

import hmac
import secrets
from hashlib import sha256
from typing import Annotated, Literal

import msgspec

MASTER_PORT = 5557  # Locust's

TOKEN_ENV = "VIRALLOAD_TOKEN"

Who = Literal["worker", "master"]
Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]  # SHA-256, in hexadecimal digits
Nonce = Hash  # as long
NONCE_CHARS = 64


def nonce() -> str:
    """A number that nobody has used or will use."""
    return secrets.token_hex(32)


class Meeting(msgspec.Struct, frozen=True, kw_only=True):
    """All that a proof is about."""

    worker: str  # its name, which nobody else has
    worker_nonce: str
    master_nonce: str
    job_sha256: str
    schedule_sha256: str

    def proof(self, token: str, who: Who) -> str:
        """That `who` knows the token, in this meeting and no other."""
        said = msgspec.json.encode([who, *msgspec.structs.astuple(self)])
        return hmac.new(token.encode(), said, sha256).hexdigest()

    def proves(self, token: str, who: Who, proof: str) -> bool:
        """Whether that proof is that one; takes the same time whichever it is not."""
        due = self.proof(token, who)
        return hmac.compare_digest(proof.encode(errors="replace"), due.encode())
