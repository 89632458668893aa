"""Agents that hold a session and have nothing to do: what they cost one hub process."""
import json
import subprocess
import time

from house import PGBIN, Failed, cpu_ns, memory_kib

HEARTBEAT_S = 30


def make(h, n):
    """n agents with a token each, into the file that bench_agents reads; a CA, and a certificate behind which they all stand."""
    script = h.home + "/agents.sql"
    h.mihwar("tenant", "add", "bench")
    with open(script, "w") as f:
        subprocess.run([h.build + "/tests/bench/bench_agents", "--make", str(n), "--tokens", h.home + "/tokens",
                        "--tenant", h.sql("SELECT id FROM tenants WHERE name = 'bench'")], stdout=f, check=True)
    h.do([PGBIN + "/psql", "-Xq", "-v", "ON_ERROR_STOP=1", h.database, "-f", script])
    h.mihwar("identity", "add", "fleet", "--tenant", "bench", "--role", "agent")


def certificates(h):
    """Settings of the mTLS door."""
    ca = h.home + "/ca"
    h.mihwar("ca", "init", "--dir", ca)
    h.mihwar("ca", "issue", "hub", "--dir", ca, "--kind", "server", "--ip", "127.0.0.1")
    h.mihwar("ca", "issue", "fleet", "--dir", ca, "--kind", "agent")
    return {"MIHWAR_MTLS_LISTEN": "127.0.0.1:0", "MIHWAR_MTLS_PORT_FILE": h.home + "/mtls.port", "MIHWAR_MTLS_CA": ca + "/ca.crt",
            "MIHWAR_MTLS_CRL": ca + "/ca.crl", "MIHWAR_MTLS_CERT": ca + "/issued/hub.crt", "MIHWAR_MTLS_KEY": ca + "/issued/hub.key"}


def where(h, door):
    if door == "web":
        return ["--port", str(h.hub_port)]
    ca = h.home + "/ca"
    return ["--port", open(h.home + "/mtls.port").read().strip(), "--ca", ca + "/ca.crt", "--cert", ca + "/issued/fleet.crt",
            "--key", ca + "/issued/fleet.key"]


def idle(h, size, door):
    """All connect, then nothing but heartbeats for two of their rounds: memory and CPU of a hub that has just started."""
    n, seconds = size.agents, 2 * HEARTBEAT_S
    h.start("hub", MIHWAR_HUB_PROCESSES=1, MIHWAR_AGENT_HEARTBEAT=f"{HEARTBEAT_S}s", **(certificates(h) if door == "mtls" else {}))
    child = h.processes("hub")["hub/0"]
    before = memory_kib(child)
    p = subprocess.Popen(["setpriv", "--pdeathsig", "SIGTERM", "--", h.build + "/tests/bench/bench_agents", "--heartbeat",
                          str(HEARTBEAT_S), "--tokens", h.home + "/tokens", "--seconds", str(seconds + 6), *where(h, door)],
                         stdout=subprocess.PIPE, text=True)
    try:
        came = json.loads(p.stdout.readline() or "{}")
        if came.get("connected") != n or came.get("lost"):
            raise Failed(f"{n} agents were to connect: {came}")
        connect_cpu = cpu_ns(child)
        time.sleep(3)  # what their coming left to do
        cpu, start = cpu_ns(child), time.monotonic()
        time.sleep(seconds)
        spent, took, rss = cpu_ns(child) - cpu, time.monotonic() - start, memory_kib(child)
        end = json.loads(p.stdout.readline() or "{}")
        if p.wait(30) or end.get("held") != n or end["answers"] != end["heartbeats"]:
            raise Failed(f"{n} agents were to stay: {end}")
    finally:
        p.kill()
        p.wait()
        h.stop("hub")
    return {"rss_mb": rss * 1024 / 1e6, "kib_each": (rss - before) / n, "cpu": spent / took / 1e7,
            "connect_s": came["took_ms"] / 1000, "connect_cpu_s": connect_cpu / 1e9, "heartbeats": end["heartbeats"]}
