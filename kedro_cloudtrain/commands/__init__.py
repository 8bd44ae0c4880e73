"""`kedro cloudtrain …`: arguments in, text out; no rule of its own."""
