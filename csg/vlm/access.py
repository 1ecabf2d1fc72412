"""Where a workflow may send pictures, and which secrets it may use.

Workflow files come from strangers. A request goes to this machine unless the user has listed the
host herself; a key is read only from an environment variable whose name says that it is meant for
this, and goes only to the host that it is for, never in the clear.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from ..causal.graph import plainly
from .protocol import VLMError

HOSTS_VARIABLE = "CSG_VLM_HOSTS"
KEY_PREFIX = "CSG_VLM_KEY"
LONGEST_HOST = 253  # RFC 1035, 2.3.4, without the bytes between its parts on the wire

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?")


def listed_hosts(text: str) -> frozenset[str]:
    """Read a user's own list of hosts: separated by commas, spaces or lines; '#' begins a comment.

    An entry is `host` or `host:port`, without scheme or path; an IPv6 address stands in brackets. `host=CSG_VLM_KEY_X`
    says besides that the key in that variable is for this host.
    """
    return frozenset(host for host, _ in _entries(text))


def listed_keys(text: str) -> frozenset[tuple[str, str]]:
    """Read, from the same list, (variable, host entry) for every key that it says is for a host."""
    return frozenset((variable, host) for host, variable in _entries(text) if variable)


def _entries(text: str) -> list[tuple[str, str]]:
    lines = (line.partition("#")[0] for line in text.splitlines())
    parts = (entry.partition("=") for line in lines for entry in re.split(r"[,\s]+", line) if entry)
    return [(host.casefold(), variable) for host, _, variable in parts if host]


def checked_url(base_url: str, allowed: Collection[str]) -> str:
    """Return the address of a server without its trailing slash, if requests may go there.

    Allowed are http and https to `localhost` or a loopback address, and to the hosts in `allowed`.
    Raises VLMError, saying how to allow a host, for anything else, and for an address that different
    programs might read differently.
    """
    host, port = _host_and_port(base_url)
    entry = _entry(host)
    if not is_loopback(host) and entry not in allowed and f"{entry}:{port}" not in allowed:
        raise VLMError(
            f"The workflow wants to send pictures to {host}, which is not this machine. If you trust it, add {entry} "
            f"to the environment variable {HOSTS_VARIABLE} or to the file csg_vlm_hosts.txt in ComfyUI's user folder."
        )
    return base_url.strip().rstrip("/")


def _host_and_port(base_url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(base_url.strip())
        host, port = (parts.hostname or "").casefold(), parts.port
    except ValueError as error:
        raise _unusable(base_url, plainly(str(error))) from None
    if len(host) > LONGEST_HOST:
        raise _unusable(base_url, f"its host has {len(host)} letters; a host name has at most {LONGEST_HOST}")
    if re.search(r"[\\\x00-\x20\x7f-\uffff]|%", base_url.strip()):
        raise _unusable(base_url, "it has characters that do not belong in an address")
    if parts.scheme not in ("http", "https") or not host:
        raise _unusable(base_url, "it does not begin with http:// or https:// and a host")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise _unusable(base_url, "it has a user name, a query or a fragment")
    if not (_HOST.fullmatch(host) or ":" in host and _address(host)):
        raise _unusable(base_url, f"{host!r} is no host name")
    port = {"http": 80, "https": 443}[parts.scheme] if port is None else port
    if not re.fullmatch(rf"{re.escape(_entry(host))}(:0*{port})?:?", parts.netloc.casefold()):
        raise _unusable(base_url, "it has more than a host and a port before its path")
    return host, port


def _entry(host: str) -> str:
    """Return a host as it stands in an address: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _unusable(base_url: str, why: str) -> VLMError:
    """Say why, with the address but without what may be a secret in it: a password or a query."""
    shown = re.sub(r"[?#].*", "?...", re.sub(r"//.*@", "//...@", base_url.strip(), flags=re.DOTALL), flags=re.DOTALL)[:100]
    return VLMError(f"{shown!r} cannot be used as base_url: {why}. Expected, for example, http://127.0.0.1:11434/v1.")


def host_of(base_url: str) -> str:
    """Return the host of an address; raises VLMError for one that cannot be used."""
    return _host_and_port(base_url)[0]


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def key_for(base_url: str, variable: str, text: str, environment: Mapping[str, str]) -> str | None:
    """Return the key in an environment variable for a server, or None when no variable is named.

    `text` is the user's list of hosts. To this machine any key may go. To another host goes a key that the list gives to
    it; one that the list gives to nobody goes to the only host that is listed. Raises VLMError for any other, for an
    address without encryption, and as `api_key` does.
    """
    key = api_key(variable, environment)
    host, port = _host_and_port(base_url)
    if key is None or is_loopback(host):
        return key
    if urlsplit(base_url.strip()).scheme != "https":
        raise VLMError(f"A key goes to {host} only over https://, and base_url begins with http://. Change it, or leave api_key_env empty.")
    variable, entries = variable.strip(), {_entry(host), f"{_entry(host)}:{port}"}
    given = {to for name, to in listed_keys(text) if name == variable}
    if given & entries or (not given and len(listed_hosts(text)) == 1):
        return key
    whose = f"is for {', '.join(sorted(given))}" if given else "may be for any of the hosts on your list"
    raise VLMError(
        f"The key in {variable} {whose}, and the workflow wants to send it to {host}. If it is for {host}, write "
        f"{_entry(host)}={variable} into {HOSTS_VARIABLE} or csg_vlm_hosts.txt."
    )


def api_key(variable: str, environment: Mapping[str, str]) -> str | None:
    """Return the key in an environment variable, or None when no variable is named.

    Raises VLMError for a variable whose name does not begin with CSG_VLM_KEY, so that no workflow
    can send other secrets, and for one that is not set. The message never shows a key.
    """
    variable = variable.strip()
    if not variable:
        return None
    if not re.fullmatch(rf"{KEY_PREFIX}[A-Z0-9_]{{0,200}}", variable):
        raise VLMError(
            f"api_key_env takes the name of an environment variable that begins with {KEY_PREFIX}, such as "
            f"{KEY_PREFIX} or {KEY_PREFIX}_CLOUD; a key itself, or another variable, is never used."
        )
    key = environment.get(variable, "").strip()
    if not key:
        raise VLMError(
            f"The environment variable {variable} is not set. Set it where ComfyUI is started, or leave api_key_env empty."
        )
    if not key.isascii() or not key.isprintable():
        raise VLMError(f"The environment variable {variable} holds characters that no API key has. Set it again.")
    return key
