"""The starter of `kedro new --starter=cloudtrain`: a project that trains two models, here or on a pod."""
