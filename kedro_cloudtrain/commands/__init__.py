"""`kedro cloudtrain …`: arguments in, text out; no rules of its own."""
