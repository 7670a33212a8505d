"""What schema.py has Schemathesis check. Salt answers 500 for a runner function that does not exist, and so does Brine."""

import schemathesis


@schemathesis.check
def no_unforeseen_error(_context, response, _case):
    status, text = response.status_code, response.text
    is_salts = status == 500 and text.rstrip().rstrip("\"'}").endswith("' is not available.")
    assert status < 500 or is_salts, f"{status}: {text[:500]}"
