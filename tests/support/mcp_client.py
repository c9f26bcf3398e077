"""A client of MCP servers in a process of its own, as a coding agent is, and the server that it starts; both without any SDK."""

SERVER = """
import json, os, sys, time

with open(os.environ.get("STARTS", "starts.txt"), "a") as file:
    print(os.getpid(), file=file)
print("Welcome to the orders server!", flush=True)
orders = []

def send(message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)

def call(name, arguments, token):
    if name == "add":
        orders.append(arguments["order"])
        return {"structuredContent": {"orders": orders}}
    if name == "count":
        if token is not None:
            send({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        return {"structuredContent": {"count": len(orders)}}
    if name == "env":
        return {"structuredContent": dict(os.environ)}
    if name == "large":
        return {"structuredContent": {"text": "x" * 5_000_000}}
    if name == "pid":
        return {"structuredContent": {"pid": os.getpid()}}
    if name == "die":
        sys.exit(3)
    return {"isError": True, "content": []}

for line in sys.stdin:
    request = json.loads(line)
    method, params = request["method"], request.get("params", {})
    if "id" not in request:
        continue
    result = {}
    if method == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "orders", "version": "1"}}
    if method == "tools/list":
        result = {"tools": [{"name": name, "inputSchema": {}} for name in ("add", "count")]}
    if method == "tools/call":
        if params["name"] == "silent":
            continue
        result = call(params["name"], params["arguments"], params.get("_meta", {}).get("progressToken"))
    send({"id": request["id"], "result": result})
"""
"""Keeps orders; it notes each start, and begins with a line that is no message."""

CLIENT = '''
import json, os, subprocess, sys

class Server:
    """One server of the configuration, started as the client of a coding agent does."""

    def __init__(self, command, args=(), env=None):
        self.process = subprocess.Popen(
            [command, *args], env={**os.environ, **(env or {})}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.number = 0
        self.seen = []
        self.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "agent"})
        self.send({"method": "notifications/initialized"})

    def send(self, message):
        try:
            self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def ask(self, method, **params):
        """Return the result, the error, or how the server has ended."""
        self.number += 1
        self.send({"id": self.number, "method": method, "params": params})
        for line in self.process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                self.seen.append(line.strip())
                continue
            if message.get("id") == self.number:
                return message.get("result", message.get("error"))
            self.seen.append(message["method"])
        return f"ended with {self.process.wait()}"

    def call(self, name, **arguments):
        result = self.ask("tools/call", name=name, arguments=arguments, _meta={"progressToken": self.number})
        return result.get("structuredContent", result) if isinstance(result, dict) else result

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()

def read_config(argv):
    values = argv[argv.index("--mcp-config") + 1 :]
    text = values[0]
    return json.loads(text if text.startswith("{") else open(text).read())["mcpServers"]

def open_server(name="orders"):
    server = read_config(sys.argv)[name]
    return Server(server["command"], server.get("args", ()), server.get("env"))
'''
"""What a client's program begins with."""

AGENT = """
from client import open_server

server = open_server()
tools = [tool["name"] for tool in server.ask("tools/list")["tools"]]
print(tools, server.call("add", order="42"), server.call("count"), server.call("count"), server.seen, server.close())
"""
"""A client that uses the server as it should be used."""

STARTS = """
import json, subprocess, sys
import pytest

def start(*more, config=None, program="agent.py", **options):
    servers = {"mcpServers": {"orders": {"command": sys.executable, "args": ["server.py", *more]}}}
    command = [sys.executable, program, "--mcp-config", config or json.dumps(servers), "--verbose"]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
"""
"""What a test begins with that starts the client."""
