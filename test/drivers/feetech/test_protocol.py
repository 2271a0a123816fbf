# SPDX-License-Identifier: Apache-2.0
"""Packets, found again whatever lies around them; registers, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftvla_ros.drivers.feetech import registers
from swiftvla_ros.drivers.feetech.protocol import ErrorFlag, Packet, PacketStream, sync_read, sync_write
from swiftvla_ros.drivers.feetech.registers import Register

PACKETS = st.builds(Packet, st.integers(0, 0xFE), st.integers(0, 0xFF), st.binary(max_size=60))
REGISTERS = [value for value in vars(registers).values() if isinstance(value, Register)]


def test_the_makers_own_example() -> None:
    """Protects the frame itself: bytes that Feetech's manual shows for a ping, a sync read and a sync write."""
    assert Packet(1, 1).encode() == bytes.fromhex("ff ff 01 02 01 fb")
    assert sync_read(0x38, 8, (1, 2)).encode() == bytes.fromhex("ff ff fe 06 82 38 08 01 02 36")
    data = {n: bytes.fromhex("0008 0000 e803") for n in (1, 2, 3, 4)}
    assert sync_write(0x2A, 6, data).encode()[:16] == bytes.fromhex("ff ff fe 20 83 2a 06 01 00 08 00 00 e8 03 02 00")
    assert sync_write(0x2A, 6, data).encode()[-1] == 0x58


@given(st.lists(PACKETS, max_size=6), st.data())
def test_packets_come_out_as_they_went_in_however_they_are_cut(packets: list[Packet], data: st.DataObject) -> None:
    """Protects from reads that end inside a packet."""
    stream, found, wire = PacketStream(), [], b"".join(p.encode() for p in packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += stream.feed(wire[start:end])
    assert found == packets
    assert stream.damaged == 0


@given(PACKETS, st.integers(0, 7), st.data())
def test_a_flipped_bit_is_never_taken_for_the_packet(packet: Packet, bit: int, data: st.DataObject) -> None:
    """Protects from noise: what comes out of a damaged packet is not that packet."""
    wire = bytearray(packet.encode())
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= 1 << bit
    assert packet not in list(PacketStream().feed(bytes(wire)))


@given(st.binary(max_size=300), PACKETS)
def test_a_packet_after_rubbish_is_found(rubbish: bytes, packet: Packet) -> None:
    """Protects the next answers from a bad one: at the latest a repeated packet is found behind any bytes."""
    stream = PacketStream()
    found = list(stream.feed(rubbish + 60 * packet.encode()))
    assert packet in found


@given(st.sampled_from(REGISTERS), st.data())
def test_registers_hold_what_is_written(register: Register, data: st.DataObject) -> None:
    """Protects signs: a magnitude and a sign bit, not two's complement."""
    largest = (1 << (8 * register.size if register.sign_bit is None else register.sign_bit)) - 1
    value = data.draw(st.integers(0 if register.sign_bit is None else -largest, largest))
    assert register.decode(register.encode(value)) == value
    with pytest.raises(ValueError, match=register.name):
        register.encode(largest + 1)


def test_a_block_means_what_the_table_says() -> None:
    """Protects the 15 bytes at 56: position, speed, load, voltage, temperature, status, current."""
    block = bytearray(15)
    block[0:2] = (2100).to_bytes(2, "little")
    block[2:4] = (0x8000 | 50).to_bytes(2, "little")
    block[4:6] = (0x400 | 123).to_bytes(2, "little")
    block[6], block[7], block[9] = 74, 41, 0x20
    block[13:15] = (100).to_bytes(2, "little")
    reading = registers.read_state(bytes(block), flags=0x04)
    assert (reading.position, reading.velocity, reading.temperature_c, reading.torque) == (2100, -50, 41, None)
    assert (reading.load_percent, reading.voltage_v, reading.current_a) == pytest.approx((-12.3, 7.4, 0.65))
    assert reading.flags == ErrorFlag.HOT | ErrorFlag.OVERLOAD
