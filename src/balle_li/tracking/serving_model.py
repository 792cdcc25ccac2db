"""The codec as MLflow serves it: a pyfunc made from this file and a model folder, with nothing pickled.

Input: a table with one column `data` of bytes, pictures (any format that `image_io` reads) to compress or streams to
decompress. Output: the same column, with streams or PNG pictures. The parameter `operation` says which. Of a variable-rate
model `quality` (0 to 100) asks for a quality and `boxes` for more of it inside boxes, in every picture of the
table: JSON, [{"xmin": 0.1, "ymin": 0.2, "xmax": 0.5, "ymax": 0.9, "weight": 1.0}, …] in fractions of the upright picture,
where weight, how much the box counts, may be left out. `tune`, ms-ssim or psnr, is what the served model has to be tuned for;
another model is an error. docs/rest.md shows requests.
"""

import json
import logging
import re
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

OPERATIONS = ("compress", "decompress")
PARAMETERS = ("operation", "quality", "boxes", "tune")

log = logging.getLogger(__name__)


class CodecModel(PythonModel):
    """Compresses and decompresses pictures with the codec of the artifact `model_folder`."""

    def load_context(self, context: PythonModelContext) -> None:
        from balle_li.codec.codec import Codec

        self._codec = Codec.load(context.artifacts["model_folder"])
        logger = logging.getLogger("mlflow.models.utils")
        if not any(isinstance(known, _RefuseUnknownParameters) for known in logger.filters):
            logger.addFilter(_RefuseUnknownParameters())

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Compress or decompress every row.

        Raises MlflowException, which a server answers with status 400 and its message: an unknown operation, or a
        picture, a stream, a quality or boxes that will not do.
        """
        from balle_li.errors import BalleLiError

        try:
            return pd.DataFrame({"data": self._converted(model_input, params or {})})
        except BalleLiError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from error

    def _converted(self, model_input: pd.DataFrame, params: dict[str, Any]) -> list[bytes]:
        from balle_li.errors import BalleLiError
        from balle_li.image_io import Picture

        operation = params.get("operation", OPERATIONS[0])
        if operation not in OPERATIONS:
            raise BalleLiError(f"operation is {operation!r}, must be one of {', '.join(OPERATIONS)}")
        options, tune = _encode_options(params), params.get("tune")
        if tune and tune != self._codec.tune:
            raise BalleLiError(f"tune is {tune!r}, but the served model is tuned for {self._codec.tune}")

        def compress(data: bytes) -> bytes:
            picture = Picture.read(data)
            for what in picture.left_out:
                log.warning("%s", what)
            return self._codec.compress(picture, options)

        convert = compress if operation == "compress" else self._decompress
        results = []
        for number, data in enumerate(model_input["data"]):
            try:
                results.append(convert(bytes(data)))
            except BalleLiError as error:
                raise BalleLiError(f"row {number}: {error}") from error
        return results

    def _decompress(self, stream: bytes) -> bytes:
        from balle_li.image_io import encoded

        data, left_out = encoded(self._codec.decompress(stream), "PNG")
        for what in left_out:
            log.warning("%s", what)
        return data


class _RefuseUnknownParameters(logging.Filter):
    """Makes an error of MLflow's warning that it leaves out a parameter: a model is never shown those it does not know."""

    def filter(self, record: logging.LogRecord) -> bool:
        from balle_li.errors import near

        found = re.match(r"Unrecognized params \[(.*?)\]", record.getMessage())
        if found is None:
            return True
        name = found[1].split(",")[0].strip("'\" ")
        known = f"{near(name, PARAMETERS)}known are {', '.join(PARAMETERS)}"
        raise MlflowException(f"parameter {name!r} is unknown: {known}", INVALID_PARAMETER_VALUE)


def _encode_options(params: dict[str, Any]) -> Any:
    """What the request asks for."""
    from balle_li.boxes import Box
    from balle_li.codec.options import EncodeOptions
    from balle_li.errors import BalleLiError

    quality = params.get("quality")
    try:
        boxes = [Box(**box) for box in json.loads(params.get("boxes") or "[]")]
    except (TypeError, ValueError):
        raise BalleLiError(
            'boxes must be JSON such as [{"xmin": 0.1, "ymin": 0.2, "xmax": 0.5, "ymax": 0.9}]'
        ) from None
    return EncodeOptions(quality=None if quality is None else float(quality), boxes=boxes)


mlflow.models.set_model(CodecModel())
