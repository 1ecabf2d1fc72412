"""Where a workflow may send pictures, and which secrets it may use.

Workflow files come from strangers. A request goes to this machine unless the user has listed the
host herself; a key is read only from an environment variable whose name says that it is meant for
this.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from .protocol import VLMError

HOSTS_VARIABLE = "CSG_VLM_HOSTS"
KEY_PREFIX = "CSG_VLM_KEY"

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?")


def listed_hosts(text: str) -> frozenset[str]:
    """Read a user's own list of hosts: separated by commas, spaces or lines; '#' begins a comment.

    An entry is `host` or `host:port`, without scheme or path; an IPv6 address stands in brackets.
    """
    lines = (line.partition("#")[0] for line in text.splitlines())
    return frozenset(entry.casefold() for line in lines for entry in re.split(r"[,\s]+", line) if entry)


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
        raise _unusable(base_url, str(error)) from None
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


def api_key(variable: str, environment: Mapping[str, str]) -> str | None:
    """Return the key in an environment variable, or None when no variable is named.

    Raises VLMError for a variable whose name does not begin with CSG_VLM_KEY, so that no workflow
    can send other secrets, and for one that is not set. The message never shows a key.
    """
    variable = variable.strip()
    if not variable:
        return None
    if not re.fullmatch(rf"{KEY_PREFIX}[A-Z0-9_]*", variable):
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
