"""What the tests share: projects, servers, and an account on loopback."""
