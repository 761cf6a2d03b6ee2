"""What travels over the wire: requests and answers as types, and how their JSON is decoded. Clients share it."""
