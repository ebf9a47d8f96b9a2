from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outbound.addresses import why_not_public
from gateway.outbound.allow_list import AllowList

NOT_PUBLIC = [
    *["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16"],
    *["172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"],
    *["192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4"],
    *["240.0.0.0/4", "::/8", "100::/8", "64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "4000::/3"],
    *["5f00::/16", "6000::/3", "8000::/1", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2001::/23"],
    *["2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20"],
]


@pytest.mark.parametrize("network", NOT_PUBLIC)
def test_first_and_last_address_of_a_special_network_are_not_public(network: str) -> None:
    whole = ip_network(network)
    assert why_not_public(str(whole[0]))
    assert why_not_public(str(whole[-1]))


@pytest.mark.parametrize(
    "ip",
    [
        *["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0"],
        *["168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"],
        *["191.255.255.255", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255"],
        *["198.20.0.0", "223.255.255.255", "2000::", "2001:200::", "2001:db7::1", "2001:db9::1", "2003::1"],
        *["2606:4700::1111", "3ffd:ffff::1", "3fff:1000::1", "::ffff:1.1.1.1"],
    ],
)
def test_the_neighbours_of_special_networks_are_public(ip: str) -> None:
    assert why_not_public(ip) is None


@pytest.mark.parametrize("ip", ["", "localhost", "127.1", "0x7f.0.0.1", "1.1.1.1%eth0", "2606:4700::1%1", "1.1.1.256"])
def test_text_that_is_no_plain_address_is_not_public(ip: str) -> None:
    assert why_not_public(ip)


@given(st.integers(0, 2**32 - 1))
def test_a_mapped_address_is_judged_as_the_ipv4_address_inside(number: int) -> None:
    v4 = IPv4Address(number)
    assert why_not_public(f"::ffff:{v4}") == why_not_public(str(v4))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["::", "::ffff:0:", "64:ff9b::", "64:ff9b:1::"]))
def test_an_ipv4_address_in_a_translation_prefix_is_never_public(number: int, prefix: str) -> None:
    assert why_not_public(str(IPv6Address(prefix + str(IPv4Address(number)))))


@given(st.integers(0, 2**128 - 1))
def test_nothing_outside_global_unicast_is_public_but_mapped_addresses(number: int) -> None:
    address = IPv6Address(number)
    if number >> 125 != 1 and address.ipv4_mapped is None:
        assert why_not_public(str(address))


@pytest.mark.parametrize(
    ("entries", "host", "ip", "port", "allowed"),
    [
        (["receiver.internal"], "receiver.internal", "10.0.0.1", 22, True),
        (["receiver.internal"], "RECEIVER.internal.", "10.0.0.1", 80, True),
        (["receiver.internal"], "other.receiver.internal", "10.0.0.1", 80, False),
        (["receiver.internal:9000"], "receiver.internal", "10.0.0.1", 9000, True),
        (["receiver.internal:9000"], "receiver.internal", "10.0.0.1", 9001, False),
        (["10.0.0.0/8"], "any.example", "10.9.9.9", 80, True),
        (["10.0.0.0/8"], "any.example", "11.0.0.1", 80, False),
        (["10.0.0.0/8"], "any.example", "::ffff:10.9.9.9", 80, True),
        (["127.0.0.1:9000"], "127.0.0.1", "127.0.0.1", 9000, True),
        (["127.0.0.1:9000"], "127.0.0.1", "127.0.0.1", 9001, False),
        (["127.0.0.1:9000"], "127.0.0.2", "127.0.0.2", 9000, False),
        (["::1"], "::1", "::1", 80, True),
        (["[::1]:9000"], "::1", "::1", 9000, True),
        (["[::1]:9000"], "::1", "::1", 80, False),
        (["fd00::/8"], "six.example", "fd12::1", 80, True),
        ([" ", "a.example", " b.example "], "b.example", "10.0.0.1", 80, True),
        ([], "a.example", "10.0.0.1", 80, False),
    ],
)
def test_allow_list_allows_what_its_entries_name(
    entries: list[str], host: str, ip: str, port: int, *, allowed: bool
) -> None:
    allow = AllowList(entries)
    assert (allow.has_host(host, port) or allow.has_address(ip, port)) is allowed


@pytest.mark.parametrize(
    "entry", ["http://a.example", "a b", "a.example:0", "a.example:99999", "[::1", "[1.2]:80", "10.0.0.0/33", "a:b:c:d"]
)
def test_allow_list_names_the_entry_that_it_does_not_understand(entry: str) -> None:
    with pytest.raises(ValueError, match="not a host, CIDR or host:port") as refused:
        AllowList(["fine.example", entry])
    assert entry in str(refused.value)
