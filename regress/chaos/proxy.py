"""TCP links that can be cut, stalled in one or both directions, and slowed. One event loop in one
thread; the methods of Link may be called from any other."""
import asyncio
import threading


class Link:
    """From a port of ours to a target, which may change. client: towards the target."""

    def __init__(self, loop, name, target):
        self.name, self.target = name, target
        self.port = None
        self._loop = loop
        self._open = {"client": asyncio.Event(), "server": asyncio.Event()}
        for event in self._open.values():
            event.set()
        self._refuse = False
        self._delay = 0.0
        self._writers = set()

    async def listen(self):
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    async def _accept(self, reader, writer):
        if self._refuse:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, far_writer)
        self._writers.update(pair)
        await asyncio.gather(self._pump(reader, far_writer, "client"), self._pump(far_reader, writer, "server"))
        self._writers.difference_update(pair)

    async def _pump(self, reader, writer, direction):
        try:
            while data := await reader.read(65536):
                await self._open[direction].wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                writer.write(data)
                await writer.drain()
            await self._open[direction].wait()
            writer.close()
        except OSError:
            writer.transport.abort()

    def _call(self, function):
        self._loop.call_soon_threadsafe(function)

    def cut(self):
        """Connections are reset and new ones refused."""
        def do():
            self._refuse = True
            for writer in list(self._writers):
                writer.transport.abort()
        self._call(do)

    def reset(self):
        """Connections are reset; new ones work."""
        self._call(lambda: [writer.transport.abort() for writer in list(self._writers)])

    def stall(self, *directions):
        """Nothing passes, nothing is closed: a firewall that forgot, a cable that is out."""
        self._call(lambda: [self._open[d].clear() for d in directions or ("client", "server")])

    def delay(self, seconds):
        self._call(lambda: setattr(self, "_delay", seconds))

    def restore(self):
        def do():
            self._refuse, self._delay = False, 0.0
            for event in self._open.values():
                event.set()
        self._call(do)


class Proxy:
    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.links = {}

    def link(self, name, port):
        """A new link to that port of this machine."""
        async def make():
            link = Link(self._loop, name, ("127.0.0.1", port))
            await link.listen()
            return link
        self.links[name] = asyncio.run_coroutine_threadsafe(make(), self._loop).result(10)
        return self.links[name]

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
