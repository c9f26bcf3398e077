"""Connections of WebSockets, recorded and replayed message by message; `http.websockets` has the patches of the clients."""
