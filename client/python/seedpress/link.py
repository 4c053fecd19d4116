"""The one module that sees sockets: a connection to one endpoint, and the line that goes on from
one to the next, moved by an Exchange. Nothing here waits but Line.wait."""
from __future__ import annotations

import itertools
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence

import zmq
from zmq.utils.monitor import parse_monitor_message

from .errors import Denied, Invalid
from .exchange import Exchange
from .keys import Keys
from .tables import IMAGE_MAX

ENDPOINTS_MAX = 16
_RECEIVE_MAX = 1000                  # messages of one turn: nobody can keep us in it
_WATCHED = (zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED |
            zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH)
_LOCAL = re.compile(r"(ipc|inproc)://.*|"
                    r"tcp://(127\.[0-9.]*|localhost|\[::1\])(:[^;]*)?")
_serial = itertools.count()          # libzmq gives names of monitors back only after a while


def now_ms() -> int:
    return time.monotonic_ns() // 1000000


def is_local(endpoint: str) -> bool:
    """Whether nothing that is sent there leaves this machine."""
    return _LOCAL.fullmatch(endpoint) is not None


class Link:
    """A DEALER with what libzmq tells of its connection."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str,
                 keys: Keys | None) -> None:
        self._is_refused = False
        self.socket = context.socket(zmq.DEALER)
        try:
            self.watch = context.socket(zmq.PAIR)
        except BaseException:
            self.socket.close()
            raise
        try:
            self._set_options(keys if endpoint.startswith("tcp://") else None,
                              endpoint.startswith("tcp://["))
            name = f"inproc://seedpress-watch-{next(_serial)}"
            self.socket.monitor(name, _WATCHED)
            self.watch.connect(name)
            self.socket.connect(endpoint)
        except BaseException:
            self.close()
            raise

    def _set_options(self, keys: Keys | None, is_ipv6: bool) -> None:
        options = {zmq.LINGER: 0, zmq.RECONNECT_IVL: 50, zmq.RECONNECT_IVL_MAX: 1000,
                   zmq.MAXMSGSIZE: IMAGE_MAX, zmq.TCP_KEEPALIVE: 1, zmq.TCP_KEEPALIVE_IDLE: 30,
                   zmq.TCP_KEEPALIVE_INTVL: 10, zmq.TCP_KEEPALIVE_CNT: 3,
                   zmq.IMMEDIATE: 1}             # nothing queues for a peer that is not there
        for option, value in options.items():
            self.socket.setsockopt(option, value)
        if is_ipv6:                              # else "localhost" may become ::1
            self.socket.setsockopt(zmq.IPV6, 1)
        if keys:
            self.socket.curve_publickey = keys.public
            self.socket.curve_secretkey = keys.secret
            self.socket.curve_serverkey = keys.broker
        self.watch.setsockopt(zmq.LINGER, 0)
        self.watch.setsockopt(zmq.RCVHWM, 0)     # at a bound libzmq's own thread would wait

    def close(self) -> None:
        self.socket.disable_monitor()
        self.watch.close()
        self.socket.close()

    def send(self, frame: bytes) -> bool:
        """False: there is no connection, or no room in it."""
        try:
            self.socket.send(frame, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def receive(self) -> list[bytes] | None:
        """The next message, of whose frames the first three are kept; None: there is none."""
        try:
            frames = [self.socket.recv(zmq.DONTWAIT)]
        except zmq.Again:
            return None
        while self.socket.getsockopt(zmq.RCVMORE):
            frame = self.socket.recv()
            if len(frames) < 3:
                frames.append(frame)
        return frames

    def take_news(self) -> Iterator[str]:
        """"connected", "lost", or "refused": lost because it was not let in."""
        while True:
            try:
                event = parse_monitor_message(self.watch.recv_multipart(zmq.DONTWAIT))
            except zmq.Again:
                return
            kind, value = event["event"], event["value"]
            if kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._is_refused = False
                yield "connected"
            elif kind == zmq.EVENT_DISCONNECTED:
                yield "refused" if self._is_refused else "lost"
            elif (kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH or
                  value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH):
                self._is_refused = True


class Line:
    """From an Exchange to whichever broker answers."""

    def __init__(self, brokers: Sequence[str], keys: Keys | None, allow_plain: bool,
                 silence_ms: int, unreachable_ms: int) -> None:
        if not 1 <= len(brokers) <= ENDPOINTS_MAX or not all(brokers):
            raise Invalid(f'brokers "{",".join(brokers)}": this needs 1 to {ENDPOINTS_MAX} '
                          "endpoints such as tcp://127.0.0.1:7701, ',' between")
        for endpoint in brokers:
            if not keys and not allow_plain and not is_local(endpoint):
                raise Denied(f'endpoint "{endpoint}" is not on loopback, and plain sockets are '
                             "only used there: give a key_file and a broker_key, or allow_plain")
        self.exchange = Exchange(brokers, keys is not None, silence_ms, unreachable_ms, now_ms())
        self._is_closed = False
        self._process = os.getpid()
        self._keys = keys
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            for endpoint in brokers[1:]:         # one that is wrong shows now, not when needed
                self._open(endpoint).close()
            self.link = self._open(brokers[0])
        except BaseException:
            self._context.destroy(linger=0)
            raise

    def _open(self, endpoint: str) -> Link:
        try:
            return Link(self._context, endpoint, self._keys)
        except zmq.ZMQError as why:
            raise Invalid(f'could not connect to "{endpoint}": {why.strerror}') from why

    @property
    def is_closed(self) -> bool:
        """Or of no use: libzmq's threads are not there after fork(), and a socket that waited for
        them would wait for ever; while Python ends nothing can be asked any more."""
        return self._is_closed or os.getpid() != self._process or sys.is_finalizing()

    def close(self) -> None:
        if self.is_closed:
            return
        self._is_closed = True
        self.exchange.end_all()
        self.link.close()
        self._context.destroy(linger=0)

    def check_open(self) -> None:
        if os.getpid() != self._process:
            raise Invalid("this handle belongs to the process that made it: after fork() make "
                          "another")
        if self.is_closed:
            raise Invalid("this handle is closed")

    def turn(self) -> bool:
        """Takes in what came, ends what is late, changes brokers, sends. True: there is a new
        link. Once closed it does nothing."""
        if self.is_closed:
            return False
        now = now_ms()
        for _ in range(_RECEIVE_MAX):
            frames = self.link.receive()
            if frames is None:
                break
            self.exchange.receive(frames, now)
        for news in self.link.take_news():
            if news == "connected":
                self.exchange.on_connected(now)
            else:
                self.exchange.on_lost(news == "refused", now)
        self.exchange.work(now)
        is_new = self._reopen(now)
        for frame in self.exchange.to_send(now):
            if not self.link.send(frame):
                self.exchange.drop_notes()
                break
        return is_new

    def _reopen(self, now: int) -> bool:
        endpoint = self.exchange.wants_connection(now)
        if endpoint is None:
            return False
        try:
            fresh = Link(self._context, self.exchange.brokers[endpoint], self._keys)
        except zmq.ZMQError:
            self.exchange.on_opened(None, now)
            return False
        self.link.close()
        self.link = fresh
        self.exchange.on_opened(endpoint, now)
        return True

    def is_due(self) -> bool:
        """Whether a turn has something to do at once. After it the descriptors of the sockets tell
        of whatever comes next."""
        wanted = zmq.POLLIN | (zmq.POLLOUT if self.exchange.has_unsent else 0)
        return bool(int(self.link.socket.getsockopt(zmq.EVENTS)) & wanted or
                    int(self.link.watch.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def wait_ms(self) -> int | None:
        """Until the next turn is due though nothing comes."""
        wake = self.exchange.wake_ms()
        return None if wake is None else max(wake - now_ms(), 0)

    def wait(self) -> None:
        """For something to work on."""
        poller = zmq.Poller()
        poller.register(self.link.socket,
                        zmq.POLLIN | (zmq.POLLOUT if self.exchange.has_unsent else 0))
        poller.register(self.link.watch, zmq.POLLIN)
        poller.poll(self.wait_ms())
