"""A private house to measure: stores, provider, hub, worker, beat, all children of this process.

    h = House(build)          a home of its own under /var/tmp, gone when h.close() has run
    h.start("hub")            one of PROGRAMS, with settings: h.start("worker", MIHWAR_WORKER_PROCESSES=1)
    h.stop("hub")
    h.processes("hub")        {"hub": pid of the parent, "hub/0": pid of the first child, ...}
    h.close()

Whatever it started dies with it: setpriv's parent-death signal ends each program when this process is gone, however it ended.
"""
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
READY = {"worker": "ev=worker.ready", "beat": "ev=leader.leads"}  # what they log when they stand
PGBIN = "/usr/lib/postgresql/15/bin"


PREFIX = "mihwar-bench-"


class Failed(Exception):
    """A case that could not be measured, in words."""


def wait_for(what, condition, seconds=30, every=0.02):
    end = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            raise Failed(f"{what}: not after {seconds} s")
        time.sleep(every)


# ---------------------------------------------------------------- what a process costs

def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(c) for c in f.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_ns(pid):
    """User and system time of a process, all threads, in ns (schedstat: /proc/PID/stat counts in hundredths)."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            with open(path) as f:
                total += int(f.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


def memory_kib(pid, field="VmRSS"):
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith(field + ":"):
                    return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass  # a backend that has ended
    return 0


def shared_out_kib(pid):
    """Resident, a page that n processes share as an n-th of it each."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
    except (FileNotFoundError, ProcessLookupError, StopIteration):
        return 0


# ---------------------------------------------------------------- Redis, without a library

class Redis:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.connect(path)
        self.f = self.s.makefile("rb")

    def __call__(self, *args):
        return self.many([args])[0]

    def many(self, calls):
        out = b""
        for args in calls:
            out += b"*%d\r\n" % len(args)
            for a in args:
                a = a if isinstance(a, bytes) else str(a).encode()
                out += b"$%d\r\n%s\r\n" % (len(a), a)
        self.s.sendall(out)
        return [self.read() for _ in calls]

    def read(self):
        line = self.f.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.f.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        raise Failed(f"redis: {rest.decode() or 'the connection was cut'}")


# ---------------------------------------------------------------- the house

def sweep():
    """Homes of runs that were killed: their processes died with them, their files did not."""
    for home in glob.glob(f"/var/tmp/{PREFIX}*-*"):
        pid = os.path.basename(home)[len(PREFIX):].split("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(home, ignore_errors=True)


class House:
    def __init__(self, build):
        self.build = build
        sweep()
        self.home = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir="/var/tmp")
        os.chmod(self.home, 0o711)  # PostgreSQL's user walks through it
        os.mkdir(self.home + "/log")
        self.running = {}
        self.base = self.home
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("MIHWAR_")}
        self.redis = None
        self.shop = None

    # ------------------------------------------------ processes

    def spawn(self, name, argv, env=None, **more):
        log = open(f"{self.home}/log/{name}.log", "ab")
        p = subprocess.Popen(argv, cwd=ROOT, env=env or self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                             start_new_session=True, **more)
        log.close()
        self.running[name] = p
        return p

    def stop(self, name, seconds=30):
        p = self.running.pop(name, None)
        if not p:
            return
        pids = [p.pid] + children(p.pid)
        if p.poll() is None:
            p.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
        try:
            p.wait(seconds)
        except subprocess.TimeoutExpired:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            p.wait()

    def close(self):
        for name in reversed(list(self.running)):
            self.stop(name)
        if self.base.startswith("/var/tmp/mihwar-"):
            shutil.rmtree(self.base, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def log_end(self, name, lines=8):
        try:
            with open(f"{self.home}/log/{name}.log", errors="replace") as f:
                return "".join(f.readlines()[-lines:])
        except FileNotFoundError:
            return ""

    def alive(self, name):
        status = self.running[name].poll()
        if status is not None:
            raise Failed(f"{name} ended with status {status}:\n{self.log_end(name)}")
        return True

    def processes(self, name):
        pid = self.running[name].pid
        out = {name: pid}
        if name not in ("postgres", "redis"):
            out.update({f"{name}/{i}": c for i, c in enumerate(children(pid))})
        return out

    # ------------------------------------------------ stores

    def stores(self):
        self.do(["scripts/stores", "init", self.home])
        for line in open(self.home + "/stores.env"):
            name, _, value = line.strip().partition("=")
            value = value.strip("'")
            if name == "BASE":
                self.base = value
            elif name == "MIHWAR_DATABASE_URL":
                self.env[name] = self.database = value
            elif name == "MIHWAR_REDIS_SOCKET":
                self.env["MIHWAR_REDIS_URL"] = self.redis_url = value
        self.env["MIHWAR_SEAL_KEYS"] = "k1:" + os.urandom(32).hex()
        self.spawn("postgres", ["scripts/stores", "pg", self.home])
        self.spawn("redis", ["scripts/stores", "redis", self.home])
        self.do(["scripts/stores", "ready", self.home])
        self.redis = Redis(self.redis_url[len("unix:"):])
        self.mihwar("db", "migrate")

    def do(self, argv, timeout=120, env=None):
        p = subprocess.run(argv, cwd=ROOT, env=env or self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=timeout)
        if p.returncode:
            raise Failed(f"{' '.join(argv[:3])}: status {p.returncode}: {(p.stderr or p.stdout).strip()[-600:]}")
        return p.stdout

    def mihwar(self, *args):
        return self.do([self.build + "/ops/mihwar", *args])

    def sql(self, text):
        return self.do([PGBIN + "/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", self.database, "-c", text]).strip()

    # ------------------------------------------------ programs

    def start(self, name, program=None, **settings):
        """Until it answers. Settings are environment variables."""
        port_file = f"{self.home}/{name}.port"
        if os.path.exists(port_file):
            os.unlink(port_file)
        env = dict(self.env, **{k: str(v) for k, v in settings.items()})
        if name == "znet":
            argv = [self.build + "/tests/sim/sim-znet", "--port", "0", "--port-file", port_file, "--settle-ms", "0"]
        else:
            argv = [program or f"{self.build}/{name}/mihwar-{name}"]
        if name == "hub":
            env.update(MIHWAR_HUB_LISTEN="127.0.0.1:0", MIHWAR_PORT_FILE=port_file)
        log = f"{self.home}/log/{name}.log"
        before = os.path.getsize(log) if os.path.exists(log) else 0
        self.spawn(name, ["setpriv", "--pdeathsig", "SIGTERM", "--"] + argv, env)
        if name in ("znet", "hub"):
            wait_for(f"{name} listens", lambda: self.alive(name) and os.path.exists(port_file))
            port = int(open(port_file).read())
            setattr(self, name + "_url", f"http://127.0.0.1:{port}")
            setattr(self, name + "_port", port)
        if name == "hub":
            wait_for("the hub is ready", lambda: self.alive(name) and self.get(self.hub_url + "/readyz", quiet=True))
        elif name in ("worker", "beat"):
            wait_for(f"{name} is ready", lambda: self.alive(name) and self.said(name, before, READY[name]))

    def said(self, name, offset, words):
        with open(f"{self.home}/log/{name}.log", errors="replace") as f:
            f.seek(offset)
            return words in f.read()

    @staticmethod
    def get(url, quiet=False):
        try:
            with urllib.request.urlopen(url, timeout=10) as r:
                return r.read() or b"{}"
        except OSError as e:
            if quiet:
                return None
            raise Failed(f"{url}: {e}")

    def ask(self, url):
        return json.loads(self.get(url))

    def set_up_shop(self):
        """scripts/demo-shop: tenant, key, provider, package. Needs the worker (it reads the catalogue)."""
        if self.shop:
            return self.shop
        script = f'mihwar() {{ "{self.build}/ops/mihwar" "$@"; }}; set -e; . scripts/demo-shop; demo_shop "{self.znet_url}"'
        out = self.do(["bash", "-c", script])
        self.shop = dict(line.split("=", 1) for line in out.split() if "=" in line)
        return self.shop

    def program(self, name, *args, timeout=300):
        """One of tests/bench: its lines of JSON."""
        out = self.do(["setpriv", "--pdeathsig", "SIGTERM", "--", f"{self.build}/tests/bench/{name}", *map(str, args)],
                      timeout=timeout)
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")]
