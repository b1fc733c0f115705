from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.errors import InvalidSettings
from streaming.tasks.address import AllowList, is_public, unwrap

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "192.0.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"]

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104  # nobody listens here
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "fe80::1",
    "fe80::1%2",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "64:ff9b:1::808:808",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2606:4700::5efe:127.0.0.1",
    "2606:4700::200:5efe:10.0.0.1",
    "fe80::a9fe:a9fe",
    "fd20:ce::254",
    "169.254.170.2",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_internet_is_open(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_everything_else_is_closed(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_the_same_in_every_wrapping(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    wrappings = [
        ipaddress.IPv6Address(0xFFFF << 32 | number),
        ipaddress.IPv6Address(0x0064FF9B << 96 | number),
        ipaddress.IPv6Address(0x2002 << 112 | number << 80 | 1),
        ipaddress.IPv6Address(0x26064700 << 96 | 0x5EFE << 32 | number),
        ipaddress.IPv6Address(0x26064700 << 96 | 0x2005EFE << 32 | number),
    ]
    assert [unwrap(wrapping) for wrapping in wrappings] == [address] * 5
    assert [is_public(wrapping) for wrapping in wrappings] == [is_public(address)] * 5


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_is_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    target = unwrap(address)
    if target.is_private or target.is_loopback or target.is_link_local or target.is_multicast or target.is_reserved:
        assert not is_public(address)


def allows(entry: str, host: str, port: int, address: str) -> bool:
    return AllowList([entry]).allows(host, port, ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("entry", "host", "port", "address", "allowed"),
    [
        ("files.internal", "files.internal", 80, "10.0.0.1", True),
        ("Files.Internal.", "files.internal", 8080, "10.0.0.1", True),
        ("files.internal", "other.internal", 80, "10.0.0.1", False),
        ("files.internal", "files.internal.evil.test", 80, "10.0.0.1", False),
        ("files.internal:8080", "files.internal", 8080, "10.0.0.1", True),
        ("files.internal:8080", "files.internal", 80, "10.0.0.1", False),
        ("localhost", "127.0.0.1", 80, "127.0.0.1", False),
        ("10.0.0.0/8", "any.test", 80, "10.9.9.9", True),
        ("10.0.0.0/8", "any.test", 80, "192.168.0.1", False),
        ("10.0.0.1/8", "any.test", 80, "10.9.9.9", True),
        ("10.0.0.0/8:8080", "any.test", 8080, "10.9.9.9", True),
        ("10.0.0.0/8:8080", "any.test", 80, "10.9.9.9", False),
        ("10.0.0.0/8", "any.test", 80, "::ffff:10.9.9.9", True),
        ("127.0.0.1:8000", "127.0.0.1", 8000, "127.0.0.1", True),
        ("127.0.0.1:8000", "127.0.0.1", 8001, "127.0.0.1", False),
        ("::1", "::1", 80, "::1", True),
        ("::1", "x", 80, "127.0.0.1", False),
        ("[::1]:8000", "::1", 8000, "::1", True),
        ("[::1]:8000", "::1", 80, "::1", False),
        ("[fd00::/8]:80", "x", 80, "fd00::2", True),
        ("fd00::/8", "x", 80, "fd00::2", True),
    ],
)
def test_an_opening_opens_what_it_says_and_nothing_else(
    entry: str, host: str, port: int, address: str, allowed: bool
) -> None:
    assert allows(entry, host, port, address) is allowed


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::a9fe:a9fe",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
    ],
)
@pytest.mark.parametrize("entry", ["inside.test", "0.0.0.0/0", "::/0", "100.64.0.0/10", "fd00::/8", "64:ff9b::/96"])
def test_metadata_is_opened_by_no_name_and_by_no_wider_network(entry: str, address: str) -> None:
    """The name server of an opened name is somebody else's, and whoever opens a network means its hosts."""
    assert not allows(entry, "inside.test", 80, address)


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("169.254.169.254", "169.254.169.254"),
        ("169.254.169.254:80", "169.254.169.254"),
        ("169.254.0.0/16", "169.254.170.2"),
        ("169.254.169.254", "::ffff:169.254.169.254"),
        ("fd00:ec2::254", "fd00:ec2::254"),
    ],
)
def test_metadata_is_opened_by_whoever_means_it(entry: str, address: str) -> None:
    assert allows(entry, "any.test", 80, address)


@pytest.mark.parametrize("port", [22, 25, 110, 143, 2049, 6000, 6667, 10080])
def test_a_port_of_another_protocol_is_closed_unless_it_is_opened(port: int) -> None:
    assert not AllowList([]).allows("mail.test", port, ipaddress.ip_address("8.8.8.8"))
    assert allows(f"mail.test:{port}", "mail.test", port, "8.8.8.8")
    assert allows("8.8.8.8", "mail.test", port, "8.8.8.8")
    assert not allows("mail.test:80", "mail.test", port, "8.8.8.8")


@pytest.mark.parametrize("port", [80, 443, 8000, 8080, 8443, 65535])
def test_other_ports_of_the_public_internet_are_open(port: int) -> None:
    assert AllowList([]).allows("www.test", port, ipaddress.ip_address("8.8.8.8"))


@pytest.mark.parametrize(
    "entry",
    ["", "a b", "http://host/", "host:0", "host:65536", "host:x", "10.0.0.0/33", "münchen.test", "[::1", "*", "-"],
)
def test_an_entry_that_says_nothing_stops_the_start(entry: str) -> None:
    with pytest.raises(InvalidSettings, match="STREAMING_FETCH_ALLOW") as raised:
        AllowList([entry])
    assert raised.value.errors[0].field == "STREAMING_FETCH_ALLOW"
