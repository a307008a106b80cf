"""`diffumask show --serve`: what is served, to whom, and what is new since someone asked."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import commands
import pytest
from gallery_folders import write_items

from diffumask.errors import InputError
from diffumask.gallery.entries import Source
from diffumask.gallery.live import BATCH, Live
from diffumask.gallery.page import render
from diffumask.gallery.server import ANY_PORT, DEFAULT_PORT, open_server


@pytest.fixture
def folder(tmp_path):
    return write_items(tmp_path / "birds", {"Bird_000000": {}, "Bird_000001": {}})


@pytest.fixture
def server(folder):
    source = Source(folder, None, 64)

    def render_page():
        return render("birds", source.run(), [], is_live=True)

    with open_server(ANY_PORT, render_page, Live(source)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path="/", method="GET", hosts=None):
    """Ask as it stands: the standard library would mend the path and the host."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for host in [f"127.0.0.1:{server.port}"] if hosts is None else hosts:
        connection.putheader("Host", host.format(port=server.port))
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_the_page_may_ask_its_own_server_alone(server):
    answer, content = ask(server)
    assert answer.status == 200
    policy = re.search(rb'Policy" content="([^"]+)"', content)
    assert policy
    assert b"default-src &#39;none&#39;" in policy[1]
    assert policy[1].endswith(b"connect-src &#39;self&#39;")
    assert b"Bird_000000" not in content
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_items_are_those_of_the_page_that_is_a_file(server, folder):
    answer, content = ask(server, "/items?since=")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    commands.done("show", folder, "--thumbnail-px", 64)
    page = folder.with_suffix(".html").read_text("utf-8")
    for item in json.loads(content)["items"]:
        assert item["image"] in page
        assert item["mask"] in page


@pytest.mark.parametrize(
    "path",
    [
        "/../run.json",
        "/run.json",
        "/images/Bird_000000.png",
        "//etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/items/../../run.json",
        "/items%00",
        "http://127.0.0.1/run.json",
        "file:///etc/passwd",
    ],
)
def test_no_path_leads_anywhere(server, path):
    answer, content = ask(server, path)
    assert (answer.status, content) == (404, b"expected / or /items")


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        ["evil.example"],
        ["evil.example:{port}"],
        ["127.0.0.1"],
        ["127.0.0.1:1"],
        ["127.0.0.1.evil.example:{port}"],
        ["127.0.0.1:{port}", "evil.example"],
    ],
)
def test_other_names_of_this_machine_are_refused(server, hosts):
    for path in ("/", "/items"):
        answer, content = ask(server, path, hosts=hosts)
        assert answer.status == 403
        assert b"Bird" not in content


def test_localhost_is_this_machine(server):
    assert ask(server, hosts=["localhost:{port}"])[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_nothing_can_be_sent(server, method):
    assert ask(server, "/items", method)[0].status == 501


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"


def test_a_folder_that_is_gone_is_told(server, folder):
    folder.rename(folder.with_name("moved"))
    answer, content = ask(server)
    assert (answer.status, content[:18]) == (503, b"expected a dataset")


def test_only_what_is_new_is_sent(folder):
    live = Live(Source(folder, None, 64))
    first = live.since("")
    assert [item["name"] for item in first["items"]] == ["Bird_000000", "Bird_000001"]
    assert (first["waiting"], live.since(first["mark"])["items"]) == (0, [])
    write_items(folder, {"Bird_000002": {}})
    (new,) = live.since(first["mark"])["items"]
    assert new["name"] == "Bird_000002"
    assert len(live.since("")["items"]) == 3  # for a page that was loaded anew
    assert len(live.since("of-an-earlier-server.9")["items"]) == 3


def test_what_breaks_or_goes_is_sent_again(folder):
    live = Live(Source(folder, None, 64))
    mark = live.since("")["mark"]
    (folder / "masks/Bird_000001.png").unlink()
    answer = live.since(mark)
    (broken,) = answer["items"]
    assert broken["broken"] == "masks/Bird_000001.png is not there"
    lines = (folder / "metadata.jsonl").read_text().splitlines(keepends=True)
    (folder / "metadata.jsonl").write_text(lines[0])
    assert live.since(answer["mark"])["items"] == [{"name": "Bird_000001", "gone": True}]


def test_many_items_come_in_parts(tmp_path):
    names = [f"Bird_{index:06d}" for index in range(BATCH + 5)]
    live = Live(Source(write_items(tmp_path / "birds", {name: {} for name in names}), None, 64))
    first = live.since("")
    assert (len(first["items"]), first["waiting"]) == (BATCH, 5)
    second = live.since(first["mark"])
    assert (len(second["items"]), second["waiting"]) == (5, 0)
    assert [one["name"] for one in first["items"] + second["items"]] == names


@pytest.mark.parametrize("mark", ["x", ".", "x.y", "1.٣", "-1", ".-5", "\x00.1"])
def test_a_mark_of_whatever_kind_gets_all(folder, mark):
    assert len(Live(Source(folder, None, 64)).since(mark)["items"]) == 2


def test_a_line_that_is_wrong_is_told_and_not_raised(folder):
    live = Live(Source(folder, None, 64))
    path = folder / "metadata.jsonl"
    wrong = json.loads(path.read_text().splitlines()[0]) | {"targets": 3}
    path.write_text(json.dumps(wrong) + "\n")
    assert "expected a list of objects as 'targets'" in live.since("")["error"]


def test_a_taken_port_is_one_line_and_without_one_a_free_port_is_found(folder):
    live = Live(Source(folder, None, 64))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"expected a free port, got {port}: "):
            open_server(port, str, live)
    with open_server(None, str, live) as first, open_server(None, str, live) as second:
        assert first.port != second.port
        assert second.port != DEFAULT_PORT


def test_a_folder_that_is_no_dataset_is_not_served(tmp_path):
    assert "expected a dataset with" in commands.refused("show", tmp_path, "--serve", "--port", 0)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT")
def test_ctrl_c_ends_it_well(folder):
    words = [sys.executable, "-m", "diffumask.cli", "show", str(folder), "--serve", "--port", "0"]
    with subprocess.Popen(words, stdout=-1, stderr=-1, text=True) as process:
        assert process.stderr
        line = process.stderr.readline()
        assert re.fullmatch(r"birds is at http://127\.0\.0\.1:\d+/ until Ctrl-C\n", line)
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=60)
    assert (process.returncode, out, rest) == (0, f"served {folder}\n", "")
