"""ADT messages as a registration system sends them."""

UPDATE = (
    "MSH|^~\\&|ADT|HOSP|CXRD||20261127101500+0100||ADT^A08^ADT_A01|C1|P|2.5.1||||||UNICODE UTF-8",
    "EVN|A08|20261127101400+0100||||20261127101300+0100",
    "PID|1||P-17^^^HOSP^PI~123^^^STATE^SS||Müller-Lüdenscheid^Jürgen^^Jr^Dr||19500102|M",
    "PV1|1|U",
)
MERGE = (
    "MSH|^~\\&|ADT|HOSP|CXRD||20261127101500+0100||ADT^A40^ADT_A39|C2|P|2.5.1||||||UNICODE UTF-8",
    "EVN|A40|20261127101400+0100",
    "PID|1||P-17^^^HOSP^PI||Müller^Jürgen",
    "MRG|P-18^^^HOSP^PI",
)


def adt(*segments: str, charset: str = "utf-8", **replaced: str) -> bytes:
    """Return a message of segments; `MSH_10="C7"` replaces a field of a segment."""
    lines = [line.split("|") for line in segments]
    for name, value in replaced.items():
        segment, _, number = name.partition("_")
        fields = next(fields for fields in lines if fields[0] == segment)
        position = int(number) - (segment == "MSH")
        fields += [""] * (position + 1 - len(fields))
        fields[position] = value
    return "".join("|".join(fields) + "\r" for fields in lines).encode(charset)
