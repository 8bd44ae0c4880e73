"""What a job is, as data and as a folder: parameters, spec, script, code, packages, fingerprint, result, receipt."""
