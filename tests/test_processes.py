"""The marks of tests that start processes, and what happens to a test without one."""

import socket
import subprocess
import sys

import processes
import pytest


def start():
    subprocess.run([sys.executable, "-c", ""], check=True)


@pytest.fixture
def watched(request):
    processes.watch(request.node)
    yield
    processes.release()


def test_a_test_is_marked_by_what_its_helpers_name(request):
    assert request.node.get_closest_marker("process")
    start()


def test_other_tests_are_not(request):
    assert not request.node.get_closest_marker("process")


def test_a_watched_test_that_starts_a_process_fails(watched):
    with pytest.raises(pytest.fail.Exception, match="mark it `process`"):
        start()
    with (
        socket.socket() as other,
        pytest.raises(pytest.fail.Exception, match="mark it `network`"),
    ):
        other.connect(("192.0.2.1", 9))  # the address of no machine
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
