"""The codec as MLflow serves it: a pyfunc made from this file and a model folder, with nothing pickled.

Input: a table with one column `data` of bytes, pictures (any format Pillow reads) to compress or streams to
decompress. Output: the same column, with streams or PNG pictures. The parameter `operation` says which.
"""

import io
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

OPERATIONS = ("compress", "decompress")


class CodecModel(PythonModel):
    """Compresses and decompresses pictures with the codec of the artifact `model_folder`."""

    def load_context(self, context: PythonModelContext) -> None:
        from balle_li.codec.codec import Codec

        self._codec = Codec.load(context.artifacts["model_folder"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Compress or decompress every row. Raises BalleLiError for an unknown operation, picture or stream."""
        from balle_li.errors import BalleLiError

        operation = (params or {}).get("operation", "compress")
        if operation not in OPERATIONS:
            raise BalleLiError(f"operation is {operation!r}, must be one of {', '.join(OPERATIONS)}")
        convert = self._compress if operation == "compress" else self._decompress
        return pd.DataFrame({"data": [convert(bytes(data)) for data in model_input["data"]]})

    def _compress(self, data: bytes) -> bytes:
        from PIL import Image, UnidentifiedImageError

        from balle_li.errors import BalleLiError

        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
        except (UnidentifiedImageError, OSError) as error:
            raise BalleLiError(f"not a picture that Pillow can read: {error}") from error
        return self._codec.compress(image)

    def _decompress(self, data: bytes) -> bytes:
        file = io.BytesIO()
        self._codec.decompress(data).save(file, format="PNG")
        return file.getvalue()


mlflow.models.set_model(CodecModel())
