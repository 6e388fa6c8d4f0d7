"""The performer of workitems (IHE RAD AIW-I): finds, claims, performs and ends them."""
