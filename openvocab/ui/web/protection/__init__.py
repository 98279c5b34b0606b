"""What protects the server: sizes of requests, slow headers, wrong passwords, and its error responses."""
