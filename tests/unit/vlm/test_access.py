"""Nothing leaves this machine unless its user said so."""
import pytest

from csg.vlm.access import api_key, checked_url, key_for, listed_hosts
from csg.vlm.protocol import VLMError

ALLOWED = listed_hosts("api.example.com, gpu-box:8000 # at work\n10.0.0.5\n[fd00::1]:8000 [fd00::2]\n")


@pytest.mark.parametrize(
    "url",
    ["http://localhost:11434/v1", "http://127.0.0.1:8000/v1/", "http://127.8.8.8/v1", "https://[::1]:80/v1", " HTTP://LOCALHOST/v1 ",
     "https://api.example.com/v1", "https://API.example.com:444/v1", "http://gpu-box:8000/v1", "http://10.0.0.5:1/v1",
     "http://[fd00::1]:8000/v1", "http://[FD00::2]/v1"],
)  # fmt: skip
def test_this_machine_and_listed_hosts_are_allowed(url):
    assert checked_url(url, ALLOWED) == url.strip().rstrip("/")


@pytest.mark.parametrize(
    "url",
    ["http://evil.example/v1", "http://127.0.0.1.nip.io/v1", "http://localhost.evil.example/v1", "http://10.0.0.6/v1", "http://gpu-box:9/v1",
     "http://0.0.0.0/v1", "http://[::ffff:8.8.8.8]/v1", "http://169.254.169.254/latest", "http://2130706433/v1", "http://0x7f000001/v1",
     "https://sub.api.example.com/v1", "http://[fd00::1]:8001/v1", "http://[fd00::3]/v1", "http://127.1/v1", "http://0177.0.0.1/v1",
     "http://0x7f.1/v1", "http://[::]/v1", "http://[fe80::1]/v1", "http://localhost.localdomain/v1", "http://app.localhost/v1"],
)  # fmt: skip
def test_any_other_host_is_refused_with_the_way_to_allow_it(url):
    with pytest.raises(VLMError, match="is not this machine.*CSG_VLM_HOSTS"):
        checked_url(url, ALLOWED)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:11434", "ftp://localhost/v1", "file:///etc/passwd", "http://", "http://localhost@evil.example/v1", "http://user:pw@localhost/v1",
     "http://evil.example\\@localhost/v1", "http://local host/v1", "http://localhost\t/v1", "http://localhost/v1?x=1", "http://localhost/v1#x",
     "http://localhost:99999/v1", "http://[::1/v1", "http://loc%61lhost/v1", "http://\u217cocalhost/v1",
     "http://localhost\r\nhost: evil/v1",
     "http://-/v1", "http://a,b/v1", "http://localhost./v1", "http://127.0.0.1\u3002evil.example/v1", "http://[::1%25eth0]/v1",
     "http://127.0.0.1:80@evil.example/v1", "http://evil.example#@localhost/v1", "http://evil.example?@localhost/v1", "//localhost/v1",
     "http://[::1]evil.example/v1", "http://[::1].evil.example/v1", "http://evil.example[::1]/v1", "http://[::1]x:80/v1"],
)  # fmt: skip
def test_an_address_that_can_be_read_in_two_ways_is_refused(url):
    with pytest.raises(VLMError, match="cannot be used as base_url|is not this machine"):
        checked_url(url, ALLOWED)


LONG = "a" * 300_000


@pytest.mark.parametrize("url", [f"http://{LONG}/v1", f"http://{'a.' * 150_000}b/v1", f"http://{'_-' * 90_000}/v1", f"http://[::1{LONG}]/v1",
                                 f"http://localhost:{LONG}/v1", f"http://[{'1:' * 5000}]/v1", f"{LONG}://localhost", f"http://localhost/{LONG}?x"])
def test_no_address_is_too_long_for_a_short_message(url):
    with pytest.raises(VLMError) as refused:
        checked_url(url, ALLOWED)
    assert len(str(refused.value)) < 500
    with pytest.raises(VLMError) as refused:
        api_key(f"CSG_VLM_KEY_{LONG.upper()}", {})
    assert len(str(refused.value)) < 500


def test_a_password_in_an_address_is_not_repeated():
    for url in ("http://me:hunter2@localhost/v1", "http://a@b:hunter2@localhost/v1"):
        with pytest.raises(VLMError, match="has a user name") as refusal:
            checked_url(url, ALLOWED)
        assert "hunter2" not in str(refusal.value)
    with pytest.raises(VLMError, match="a query or a fragment") as refusal:
        checked_url("http://localhost/v1?api_key=hunter2", ALLOWED)
    assert "hunter2" not in str(refusal.value)


def test_a_listed_port_is_that_port_alone():
    for port in ("0", "08001", "80"):
        with pytest.raises(VLMError, match="is not this machine"):
            checked_url(f"http://gpu-box:{port}/v1", listed_hosts("gpu-box:8000"))
    with pytest.raises(VLMError, match="is not this machine"):
        checked_url("http://gpu-box:0/v1", listed_hosts("gpu-box:80"))
    assert checked_url("http://gpu-box:08000/v1", listed_hosts("gpu-box:8000"))


def test_keys_come_only_from_variables_meant_for_it():
    environment = {"CSG_VLM_KEY": " k1 ", "CSG_VLM_KEY_CLOUD": "k2", "AWS_SECRET": "s", "CSG_VLM_KEY_BAD": "a\nb", "CSG_VLM_KEYS": ""}
    assert api_key("", environment) is None
    assert api_key("CSG_VLM_KEY", environment) == "k1" and api_key("CSG_VLM_KEY_CLOUD ", environment) == "k2"
    for name in ("AWS_SECRET", "sk-123456", "XCSG_VLM_KEY", "CSG_VLM_KEY$HOME", "csg_vlm_key"):
        with pytest.raises(VLMError, match="begins with CSG_VLM_KEY") as refusal:
            api_key(name, environment)
        assert "sk-123456" not in str(refusal.value)
    for name in ("CSG_VLM_KEY_NONE", "CSG_VLM_KEYS"):
        with pytest.raises(VLMError, match="is not set"):
            api_key(name, environment)
    with pytest.raises(VLMError, match="characters that no API key has"):
        api_key("CSG_VLM_KEY_BAD", environment)


KEYS = {"CSG_VLM_KEY_A": "a", "CSG_VLM_KEY_B": "b"}
LIST = "api.a.com=CSG_VLM_KEY_A, api.b.com:8443=CSG_VLM_KEY_B\nbox:8000"


@pytest.mark.parametrize(("url", "variable", "key"), [
    ("https://api.a.com/v1", "CSG_VLM_KEY_A", "a"), ("https://api.b.com:8443/v1", "CSG_VLM_KEY_B", "b"),
    ("http://127.0.0.1:1234/v1", "CSG_VLM_KEY_A", "a"), ("http://box:8000/v1", "", None),
])  # fmt: skip
def test_a_key_goes_to_the_host_that_it_is_for(url, variable, key):
    assert checked_url(url, listed_hosts(LIST)) and key_for(url, variable, LIST, KEYS) == key


@pytest.mark.parametrize(("url", "variable", "why"), [
    ("https://api.a.com/v1", "CSG_VLM_KEY_B", "is for api.b.com:8443, .* write api.a.com=CSG_VLM_KEY_B into"),
    ("http://api.a.com/v1", "CSG_VLM_KEY_A", "only over https://"),
    ("https://api.b.com/v1", "CSG_VLM_KEY_B", "is for api.b.com:8443"),
])  # fmt: skip
def test_a_key_goes_nowhere_else_and_never_in_the_clear(url, variable, why):
    with pytest.raises(VLMError, match=why):
        key_for(url, variable, LIST, KEYS)


def test_a_key_that_no_host_is_named_for_goes_to_the_only_host():
    assert key_for("https://api.a.com/v1", "CSG_VLM_KEY_A", "api.a.com", KEYS) == "a"
    with pytest.raises(VLMError, match="may be for any of the hosts"):
        key_for("https://api.a.com/v1", "CSG_VLM_KEY_A", "api.a.com other.com", KEYS)
