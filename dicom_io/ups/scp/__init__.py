"""The SCP of workitems: events of a manager, and workitems that peers push to this node."""
