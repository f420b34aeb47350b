"""Names that no page must run, and exemplars that wait in quarantine."""

from collections.abc import Callable

from holdfast.protos.holdfast.admin.v1 import admin_pb2, exemplar_pb2
from holdfast.protos.holdfast.v1 import image_pb2
from tests.server.api.admin import Operator
from tests.server.running import Served
from tests.server.tiny import coloured, png

HOSTILE = "<script>document.title='taken'</script>"
"""A class of the bundle, and where an exemplar came from."""

ServePage = Callable[..., Served]


def add_doubtful(served: Served, seed: int = 5) -> int:
    """A blue picture that is said to be green: it goes into quarantine. Returns its id."""
    image = image_pb2.Image(encoded=png(coloured(2, 1, seed=seed)[0]))
    new = exemplar_pb2.NewExemplar(image=image, label="green", source=HOSTILE)
    reply = Operator(served.app.admin_address).AddExemplars(
        admin_pb2.AddExemplarsRequest(exemplars=[new], request_id=f"page-test-{seed}")
    )
    (result,) = reply.results
    assert result.added.state == exemplar_pb2.EXEMPLAR_STATE_QUARANTINED
    return int(result.added.id)
