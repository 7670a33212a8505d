"""``salt.client.LocalClient``: jobs published, and their returns collected from the master's bus."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from brine import _native
from brine._publish import Functions, Publishing, Target
from brine._returns import Return, Returns
from brine.exceptions import AuthorizationError, SaltClientError


class LocalClient(Publishing):
    """Publishes jobs and collects their returns, on the master configured by ``c_path`` or
    ``mopts`` is.
    """

    def __enter__(self) -> LocalClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.destroy()

    # Publishing and collecting

    def cmd(
        self,
        tgt: Target,
        fun: Functions,
        arg: Sequence[Any] = (),
        timeout: Any = None,
        tgt_type: str = "glob",
        ret: str = "",
        jid: str = "",
        full_return: bool = False,
        kwarg: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """What each minion returned by its id, ``False`` for one that did not; with
        ``full_return`` a dict of ``ret``, ``retcode``, ``jid`` and, if set, ``out``.
        """
        was_listening = self.event.cpub
        try:
            published = self.run_job(
                tgt, fun, arg, tgt_type, ret, timeout, jid, kwarg, listen=True, **kwargs
            )
            if not published:
                return published
            kwargs.setdefault("expect_minions", False)
            collected: dict[str, Any] = {}
            for one in self.get_cli_event_returns(
                published["jid"], published["minions"], self._get_timeout(timeout), **kwargs
            ):
                for minion, data in one.items():
                    collected[minion] = data if full_return else data.get("ret", {})
            return {**dict.fromkeys(published["minions"], False), **collected}
        finally:
            self._leave(was_listening)

    def cmd_subset(
        self,
        tgt: Target,
        fun: str,
        arg: Sequence[Any] = (),
        tgt_type: str = "glob",
        ret: str = "",
        kwarg: Mapping[str, Any] | None = None,
        subset: int = 3,
        cli: bool = False,
        progress: bool = False,
        full_return: bool = False,
        **kwargs: Any,
    ) -> Any:
        """:meth:`cmd`, or with ``cli`` :meth:`cmd_cli`, on some minions that have the function."""
        subset = kwargs.pop("sub", subset)
        functions = self.cmd(tgt, "sys.list_functions", tgt_type=tgt_type, **kwargs)
        able = [id_ for id_, names in functions.items() if isinstance(names, list) and fun in names]
        some = random.sample(able, min(subset, len(able)))
        if cli:
            return self.cmd_cli(some, fun, arg, tgt_type="list", ret=ret, kwarg=kwarg, **kwargs)
        return self.cmd(
            some, fun, arg, tgt_type="list", ret=ret, kwarg=kwarg, full_return=full_return, **kwargs
        )

    def cmd_cli(
        self,
        tgt: Target,
        fun: Functions,
        arg: Sequence[Any] = (),
        timeout: Any = None,
        tgt_type: str = "glob",
        ret: str = "",
        verbose: bool = False,
        kwarg: Mapping[str, Any] | None = None,
        progress: bool = False,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        """Returns as they arrive, and a sentence for each minion that did not return."""
        was_listening = self.event.cpub
        try:
            published = self.run_job(
                tgt, fun, arg, tgt_type, ret, timeout, kwarg=kwarg, listen=True, **kwargs
            )
            if not published:
                yield published
                return
            yield from self.get_cli_event_returns(
                published["jid"],
                published["minions"],
                self._get_timeout(timeout),
                verbose=verbose,
                progress=progress,
                **kwargs,
            )
        finally:
            self._leave(was_listening)

    def cmd_iter(
        self,
        tgt: Target,
        fun: Functions,
        arg: Sequence[Any] = (),
        timeout: Any = None,
        tgt_type: str = "glob",
        ret: str = "",
        kwarg: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        """Returns as they come in, ``{id: {"ret", "retcode", "jid"}}``; of minions that did not
        return nothing, or with ``expect_minions=True`` ``{id: {"failed": True}}``.
        """
        for one in self._iterate(tgt, fun, arg, timeout, tgt_type, ret, kwarg, True, kwargs):
            if one is not None:
                yield one

    def cmd_iter_no_block(
        self,
        tgt: Target,
        fun: Functions,
        arg: Sequence[Any] = (),
        timeout: Any = None,
        tgt_type: str = "glob",
        ret: str = "",
        kwarg: Mapping[str, Any] | None = None,
        show_jid: bool = False,
        verbose: bool = False,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any] | None]:
        """:meth:`cmd_iter`, with ``None`` whenever there is nothing yet."""
        return self._iterate(tgt, fun, arg, timeout, tgt_type, ret, kwarg, False, kwargs)

    def _iterate(
        self,
        tgt: Target,
        fun: Functions,
        arg: Sequence[Any],
        timeout: Any,
        tgt_type: str,
        ret: str,
        kwarg: Mapping[str, Any] | None,
        block: bool,
        kwargs: dict[str, Any],
    ) -> Iterator[dict[str, Any] | None]:
        was_listening = self.event.cpub
        try:
            published = self.run_job(
                tgt, fun, arg, tgt_type, ret, timeout, kwarg=kwarg, listen=True, **kwargs
            )
            if not published or kwargs.get("yield_pub_data"):
                yield published
            if published:
                yield from self.get_iter_returns(
                    published["jid"],
                    published["minions"],
                    self._get_timeout(timeout),
                    block=block,
                    **{name: value for name, value in kwargs.items() if name != "jid"},
                )
        finally:
            self._leave(was_listening)

    # Collecting

    def get_iter_returns(
        self,
        jid: str,
        minions: Iterable[str],
        timeout: Any = None,
        tgt: Target = "*",
        tgt_type: str = "glob",
        expect_minions: bool = False,
        block: bool = True,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any] | None]:
        """The returns of a job that was published with ``listen=True`` on this client."""
        gather = float(kwargs.get("gather_job_timeout") or self.opts["gather_job_timeout"])
        names = [minions] if isinstance(minions, str) else minions
        inquire = lambda late: self._is_running(jid, late, gather)  # noqa: E731
        returns = Returns(self.event, jid, names, self._get_timeout(timeout), gather, inquire)
        try:
            for one in returns.each(block):
                yield None if one is None else _return_of(*one, kwargs)
            failed = returns.job.unreturned() if expect_minions else returns.job.missing()
            for minion in failed:
                yield {minion: {"failed": True}}
        finally:
            returns.close()

    def get_cli_event_returns(
        self,
        jid: str,
        minions: Iterable[str],
        timeout: Any = None,
        tgt: Target = "*",
        tgt_type: str = "glob",
        verbose: bool = False,
        progress: bool = False,
        show_timeout: bool = False,
        show_jid: bool = False,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        """The same in printed form: with a sentence for each missing return."""
        minions = [minions] if isinstance(minions, str) else list(minions)
        if verbose:
            title = f"Executing job with jid {jid}"
            print(f"{title}\n{'-' * len(title)}\n")
        elif show_jid:
            print(f"jid: {jid}")
        expect = kwargs.pop("expect_minions", True) or verbose or show_timeout
        came = 0
        for one in self.get_iter_returns(jid, minions, timeout, expect_minions=expect, **kwargs):
            for minion, data in (one or {}).items():
                if minion == "error":
                    raise AuthorizationError("Authorization error occurred")
                came += 1
                if data.get("failed"):
                    yield {minion: _no_return(jid)}
                    continue
                if progress:
                    yield {"minion_count": len(minions), "return_count": came}
                yield {minion: data}

    def get_cli_returns(
        self,
        jid: str,
        minions: Iterable[str],
        timeout: Any = None,
        tgt: Target = "*",
        tgt_type: str = "glob",
        verbose: bool = False,
        show_jid: bool = False,
        **kwargs: Any,
    ) -> Iterator[dict[str, Any]]:
        """The returns of any job: first those in the master's job cache, then new ones as they arrive."""
        wanted = {minions} if isinstance(minions, str) else set(minions)
        self.event.connect_pub()
        self.event.subscribe(f"salt/job/{jid}")
        cached = self.get_cache_returns(jid)
        if cached:
            yield cached
        late = wanted - set(cached)
        if late:
            yield from self.get_cli_event_returns(
                jid, late, timeout, verbose=verbose, show_jid=show_jid, expect_minions=False
            )
        else:
            self.event.unsubscribe(f"salt/job/{jid}")

    def get_cache_returns(self, jid: str) -> dict[str, Any]:
        """The returns of a job in the master's job cache."""
        jid = str(jid)
        if not jid.isdigit():
            raise SaltClientError(f"expected a job id, found {jid!r}")
        digest = hashlib.new(str(self.opts.get("hash_type") or "sha256"), jid.encode()).hexdigest()
        directory = os.path.join(self.opts["cachedir"], "jobs", digest[:2], digest[2:])
        try:
            minions = sorted(name for name in os.listdir(directory) if not name.startswith("."))
        except FileNotFoundError:
            return {}
        cached: Return = {}
        for minion in minions:
            returned = _read(os.path.join(directory, minion, "return.p"))
            if returned is None:
                continue
            is_new_form = isinstance(returned, dict) and "return" in returned
            cached[minion] = {"ret": returned["return"] if is_new_form else returned}
            out = _read(os.path.join(directory, minion, "out.p"))
            if out is not None:
                cached[minion]["out"] = out
        return cached

    def _leave(self, was_listening: bool) -> None:
        if not was_listening:
            self.event.close_pub()


def _return_of(kind: str, raw: dict[str, Any], wishes: Mapping[str, Any]) -> dict[str, Any]:
    """A return in Salt's form."""
    if kind == "refused":
        message = "Authorization error occurred."
        return {"error": {"name": "AuthorizationError", "message": message}}
    if wishes.get("raw"):
        return raw
    data = raw["data"]
    one = {"ret": data["return"]}
    one.update((name, data[name]) for name in ("out", "retcode", "jid") if name in data)
    if wishes.get("_cmd_meta"):
        one.update(data)
    result: Return = {raw["tag"].rpartition("/ret/")[2]: one}
    return result


def _no_return(jid: str) -> dict[str, Any]:
    text = (
        "Minion did not return. [No response]\nThe minions may not have all finished running and "
        "any remaining minions will return upon completion. To look up the return data for this "
        f"job later, run the following command:\n\nsalt-run jobs.lookup_jid {jid}"
    )
    return {"out": "no_return", "ret": text, "retcode": 1}


def _read(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            return _native.loads(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None
