"""All steps from the bytes of a file to a film: gate, decoder, picture check, network input."""

from dataclasses import dataclass

from cxr_model.predict.transform import InputSpec, network_input, reduced
from daemon.analyse.reader.check_picture import Examiner, check_picture
from daemon.analyse.reader.film import FULL_SIZE, Film, Refusal, Wanted
from daemon.analyse.reader.film_file import Form, decode_file
from dicom_io.gate.rules import DEFAULT_RULES, Rules


@dataclass(frozen=True, slots=True)
class FilmReader:
    """Reads files in this process; a reader process holds one, and gets it when it starts.

    `examiner` looks at each picture. `spec` is the input of the network.
    """

    examiner: Examiner
    spec: InputSpec

    def read(
        self,
        data: bytes,
        rules: Rules = DEFAULT_RULES,
        form: Form = Form.OBJECT,
        wanted: Wanted = FULL_SIZE,
    ) -> Film | Refusal:
        """Gate, decode and check the bytes of a file of this form by the rules of its sender."""
        decoded = decode_file(data, form, rules)
        if isinstance(decoded, Refusal):
            return decoded
        checked = check_picture(decoded, self.examiner, rules.picture_check)
        if isinstance(checked, Refusal):
            return checked
        rows, columns = checked.pixels.shape
        return Film(
            reduced(checked.pixels, wanted.picture_side),
            rows,
            columns,
            network_input(checked.pose.to_display(checked.pixels), self.spec),
            checked.notes,
            checked.pose,
            checked.tone,
            checked.shown if wanted.shown else None,
        )
