"""The servers and the two programs under test: where they are, and how to start and harm them."""
import os
import pathlib
import signal
import subprocess
import threading
import time

import psycopg2

from proxy import Proxy

HERE = pathlib.Path(__file__).resolve().parent
REPLICA = "r1"


def wait_until(condition, seconds, pause=0.1):
    """Polls; what the condition returned when it was true, else None."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result or time.monotonic() > deadline:
            return result or None
        time.sleep(pause)


class System:
    def __init__(self, directory, say):
        self.directory, self.say = directory, say
        self.proxy = Proxy()
        self.primary_name = "primary"
        # Held while the primary is another server than a moment ago.
        self.primary_lock = threading.RLock()

    # ---- servers -------------------------------------------------------------------------------
    def servers(self, *arguments, env=None, check=True):
        done = subprocess.run([str(HERE / "servers"), self.directory, *map(str, arguments)], env={**os.environ, **(env or {})},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if check and done.returncode != 0:
            raise RuntimeError(f"servers {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
        return done.stdout

    def up(self):
        settings = dict(line.split("=", 1) for line in self.servers("up").splitlines() if "=" in line)
        self.settings = settings
        self.ports = {"primary": int(settings["PRIMARY_PORT"]), "standby": int(settings["STANDBY_PORT"]),
                      "replica": int(settings["REPLICA_PORT"]), "broker": int(settings["BROKER_PORT"])}
        for name, server in [("relay-primary", "primary"), ("relay-broker", "broker"), ("apply-broker", "broker"),
                             ("apply-replica", "replica"), ("apply-primary", "primary"), ("standby-primary", "primary")]:
            self.proxy.link(name, self.ports[server])
        self.broker_url = self._broker_url(self.ports["broker"])

    def down(self):
        self.servers("down", check=False)
        self.proxy.stop()

    def _url(self, port, database):
        return f"postgresql://postgres:{self.settings['PASSWORD']}@127.0.0.1:{port}/{database}"

    def _broker_url(self, port):
        return f"amqp://guest:{self.settings['PASSWORD']}@127.0.0.1:{port}/%2F"

    def connect(self, side, **options):
        """A psycopg2 connection to primary or replica, past the proxy; autocommit."""
        if side == "primary":
            with self.primary_lock:
                url = self._url(self.ports[self.primary_name], "parking_db")
        else:
            url = self._url(self.ports["replica"], "parking_replica_db")
        connection = psycopg2.connect(url, connect_timeout=5, application_name="chaos", **options)
        connection.autocommit = True
        return connection

    def _ask(self, connection, sql, parameters):
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def query(self, side, sql, *parameters):
        """Rows of one statement on a connection of its own. Another fault of the step may be restarting
        the server: it is waited for."""
        deadline = time.monotonic() + 60
        while True:
            try:
                connection = self.connect(side)
                break
            except psycopg2.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        return self._ask(connection, sql, parameters)

    def try_query(self, side, sql, *parameters):
        """None while the server cannot be asked."""
        try:
            return self._ask(self.connect(side), sql, parameters)
        except psycopg2.Error:
            return None

    def server_name(self, side):
        return self.primary_name if side == "primary" else side

    def start_postgres(self, side):
        name = self.server_name(side)
        self.servers("postgres", "start", name, self.ports[name])

    def stop_postgres(self, side, mode):
        self.servers("postgres", "stop", self.server_name(side), mode)

    def postmaster(self, side):
        return int((self.data(self.server_name(side)) / "postmaster.pid").read_text().split()[0])

    def data(self, name):
        return pathlib.Path(self.settings["SERVER"]) / name

    # ---- relay and applier -----------------------------------------------------------------------
    def start_replicator(self, part, name=None, port=None):
        """relay or apply, under a supervisor; a second one has a name of its own."""
        links = self.proxy.links
        env = {"RABBITMQ_BROKER_URL": self._broker_url(links[f"{part}-broker"].port),
               "DATABASE_URL": self._url(links[f"{part}-primary"].port, "parking_db")}
        arguments = [part, "--listen", f"127.0.0.1:{port}" if port else "none"]
        if part == "apply":
            env["REPLICA_DATABASE_URL"] = self._url(links["apply-replica"].port, "parking_replica_db")
            # Little memory, so that large transactions wait in the spool.
            arguments += ["--name", REPLICA, "--memory", "4MB", "--prefetch", "32"]
        self.servers("replicator", name or part, *arguments, env=env)

    def stop_replicator(self, name):
        self.servers("stop-replicator", name)

    def child(self, name):
        """Process id of a relay or applier; None while its supervisor starts it again."""
        try:
            pid, start = (self.data(name + ".child")).read_text().split()
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, ValueError, IndexError):
            return None
        return int(pid) if stat[19] == start and stat[0] not in "ZX" else None

    def broker_pid(self):
        return int((self.data("rabbitmq") / "server.process").read_text().split()[0])

    @staticmethod
    def signal(pid, name):
        """False if it is gone."""
        try:
            os.kill(pid, getattr(signal, "SIG" + name))
        except ProcessLookupError:
            return False
        return True
