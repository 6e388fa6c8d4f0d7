"""HL7 v2 messages over MLLP: results sent, patient changes received."""
