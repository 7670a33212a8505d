"""Jobs published by the Brine master that runs on this machine: the first half of ``LocalClient``.

It asks the master over its local socket, where the kernel says who asks, so it reads no key and signs
nothing.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, List, Union

from brine import _command, _native, config
from brine.event import SaltEvent, get_event
from brine.exceptions import (
    AuthenticationError,
    AuthorizationError,
    EauthAuthenticationError,
    PublishError,
    SaltClientError,
    SaltInvocationError,
    SaltReqTimeoutError,
)

log = logging.getLogger(__name__)

Target = Union[str, List[str]]
Functions = Union[str, List[str]]

_NOBODY = "No minions matched the target. No command was sent, no jid was assigned."


class Publishing:
    """The half of ``LocalClient`` that publishes."""

    def __init__(
        self,
        c_path: str = "/etc/salt/master",
        mopts: Mapping[str, Any] | None = None,
        skip_perm_errors: bool = False,
        io_loop: Any = None,
        keep_loop: bool = False,
        auto_reconnect: bool = False,
        listen: bool = False,
    ) -> None:
        self.opts: dict[str, Any] = dict(mopts) if mopts else config.client_config(c_path)
        self.salt_user = _user()
        self.skip_perm_errors = skip_perm_errors
        self.auto_reconnect = auto_reconnect
        self.listen = listen
        self.event = get_event(
            "master",
            self.opts["sock_dir"],
            opts=self.opts,
            listen=listen,
            io_loop=io_loop,
            keep_loop=keep_loop,
        )

    def destroy(self) -> None:
        """Closes the connections to the bus."""
        self.event.destroy()

    def pub(
        self,
        tgt: Target,
        fun: Functions,
        arg: Sequence[Any] = (),
        tgt_type: str = "glob",
        ret: str = "",
        jid: str = "",
        timeout: float | None = None,
        listen: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Publishes; returns ``{"jid", "minions"}``, with an empty list if no minion matches."""
        wait = float(timeout or self.opts.get("publish_timeout") or 30)
        tgt, tgt_type = self._resolved(tgt, kwargs.pop("expr_form", tgt_type))
        if self.opts.get("ext_job_cache"):
            ret = ",".join(filter(None, (ret, self.opts["ext_job_cache"])))
        load: dict[str, Any] = {"tgt": tgt, "fun": fun, "arg": list(arg), "tgt_type": tgt_type}
        load.update(ret=ret, jid=jid, user=self.salt_user)
        if kwargs:
            load["kwargs"] = kwargs
        if not (self.event.connect_pub(timeout=wait) and _hear(self.event, wait)):
            raise SaltClientError(f"there is no bus of a master in {self.opts['sock_dir']}")
        # A minion may return before the master's answer is read: all returns are kept until then.
        self.event.subscribe("salt/job/")
        try:
            answer = _command.run("master", self.opts, {"client": "local_async", **load}, wait)
            published = _published(answer)
            if published.get("jid") and listen:
                self.event.subscribe(f"salt/job/{published['jid']}")
            return published
        except _command.NoNodeError as error:
            raise SaltReqTimeoutError(f"expected a Brine master that runs here: {error}") from None
        except TimeoutError:
            raise SaltReqTimeoutError(f"the master did not answer within {wait:g} s") from None
        finally:
            self.event.unsubscribe("salt/job/")

    def run_job(
        self,
        tgt: Target,
        fun: Functions,
        arg: Sequence[Any] = (),
        tgt_type: str = "glob",
        ret: str = "",
        timeout: Any = None,
        jid: str = "",
        kwarg: Mapping[str, Any] | None = None,
        listen: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Publishes; ``{"jid", "minions"}``, or ``{}`` with a line printed if no minion matches."""
        arguments = _conditioned(arg, kwarg)
        wait = self._get_timeout(timeout) if timeout is not None else None
        try:
            published = self.pub(
                tgt, fun, arguments, tgt_type, ret, jid=jid, timeout=wait, listen=listen, **kwargs
            )
        except SaltClientError as error:
            raise SaltClientError(
                "The salt master could not be contacted. Is master running?"
            ) from error
        except (AuthenticationError, AuthorizationError, EauthAuthenticationError):
            raise
        except Exception as error:
            raise SaltClientError(error) from error
        if not published["minions"]:
            print(_NOBODY)
            return {}
        return published

    def cmd_async(
        self,
        tgt: Target,
        fun: Functions,
        arg: Sequence[Any] = (),
        tgt_type: str = "glob",
        ret: str = "",
        jid: str = "",
        kwarg: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> str | int:
        """Publishes without waiting; the job id, or 0 if no minion matches."""
        published = self.run_job(tgt, fun, arg, tgt_type, ret, jid=jid, kwarg=kwarg, **kwargs)
        found: str | int = published.get("jid", 0)
        return found

    def gather_job_info(
        self, jid: str, tgt: Target, tgt_type: str, listen: bool = True, **kwargs: Any
    ) -> dict[str, Any]:
        """Asks the minions whether a job still runs on them."""
        timeout = int(kwargs.pop("gather_job_timeout", self.opts["gather_job_timeout"]))
        return self.run_job(
            tgt,
            "saltutil.find_job",
            [jid],
            tgt_type=tgt_type,
            timeout=timeout,
            listen=listen,
            **kwargs,
        )

    def _is_running(self, jid: str, late: list[str], timeout: float) -> str | None:
        # Not run_job: that prints when nobody matches, which is nothing to tell here.
        try:
            published = self.pub(
                late, "saltutil.find_job", [jid], "list", timeout=timeout, listen=True
            )
        except (SaltClientError, SaltReqTimeoutError, PublishError):
            return None
        found: str | None = published["jid"] if published["minions"] else None
        return found

    def _get_timeout(self, timeout: Any) -> float:
        if isinstance(timeout, str) and timeout.isdigit():
            return int(timeout)
        if isinstance(timeout, (int, float)):
            return timeout
        return float(self.opts["timeout"])

    def _resolved(self, tgt: Target, tgt_type: str) -> tuple[Target, str]:
        """Resolves node groups, which are in the configuration."""
        groups = self.opts.get("nodegroups")
        try:
            resolved = _native.without_nodegroups(tgt, tgt_type, groups)
        except ValueError as error:
            raise SaltInvocationError(str(error)) from None
        if resolved is None:
            return tgt, tgt_type
        compound, faults = resolved
        for fault in faults:
            log.error(fault)
        return compound, "compound"


def _hear(event: SaltEvent, timeout: float) -> bool:
    """Waits until an object receives its bus's events; returns whether it does within ``timeout`` seconds.

    A bus accepts a listener some time after the listener has connected, and a return that is quicker
    than that would be missed.
    """
    tag = f"brine/here/{os.urandom(16).hex()}"
    until = time.monotonic() + timeout
    event.subscribe(tag)
    try:
        while (left := until - time.monotonic()) > 0:
            fired = event.fire_event({}, tag, int(min(left, 1) * 1000) + 1)
            if fired and event.get_event(wait=min(left, 0.2), tag=tag) is not None:
                return True
        return False
    finally:
        event.unsubscribe(tag)


def _published(answer: dict[str, Any]) -> dict[str, Any]:
    error = answer.get("error")
    if isinstance(error, dict):
        kind = {
            "AuthenticationError": AuthenticationError,
            "AuthorizationError": AuthorizationError,
            "EauthAuthenticationError": EauthAuthenticationError,
        }.get(str(error.get("name")), PublishError)
        raise kind(str(error.get("message") or error))
    published = answer["return"]
    return {"jid": published["jid"], "minions": published["minions"]}


def _conditioned(arg: Sequence[Any], kwarg: Mapping[str, Any] | None) -> list[Any]:
    """Arguments as a job carries them: keywords as a marked mapping at the end."""
    arguments = [arg] if isinstance(arg, str) else list(arg)
    # A job id is twenty digits, which must not become a number that msgpack cannot hold.
    arguments = [
        str(one) if type(one) is int and len(str(one)) == 20 else one for one in arguments
    ]
    return [*arguments, {"__kwarg__": True, **kwarg}] if kwarg else arguments


def _user() -> str:
    import pwd

    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    sudo = os.environ.get("SUDO_USER")
    return f"sudo_{sudo}" if name == "root" and sudo else name
