"""`metawatt solana-replay` against a running node, and what it says when it cannot."""

import json
import time
import urllib.request
from urllib.error import HTTPError

from tests.cli.test_commands import metawatt
from tests.cli.test_simulate import serving


def replay(folder, port, from_slot):
    return metawatt("solana-replay", "--from-slot", from_slot, "--port", port, "--data-dir", folder)


def cluster(url, method, *params):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(f"{url}/dev/solana", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.loads(reply.read())


def until_connected(url, data):
    token = (data / "admin.token").read_text().strip()
    status = f"{url}/api/admin/event-processor/status"
    request = urllib.request.Request(status, headers={"Authorization": f"Bearer {token}"})
    for _ in range(200):
        try:
            with urllib.request.urlopen(request, timeout=10):
                return
        except HTTPError:
            time.sleep(0.1)
    raise AssertionError("the node was never connected to its cluster")


def test_the_history_is_applied_anew_as_far_as_it_is_there(tmp_path):
    with serving(tmp_path) as url:
        port, data = url.rsplit(":", 1)[1], tmp_path / "data"
        until_connected(url, data)
        assert "result" in cluster(url, "dev_advance", 40)
        done = replay(data, port, 0)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert "replayed from slot 0: " in done.stdout
        cluster(url, "dev_advance", 300)
        assert "result" in cluster(url, "dev_prune", 20)
        gap = replay(data, port, 0)
        assert gap.returncode == 3
        assert gap.stderr.startswith("metawatt: ERR_HISTORY_GAP: ")
        assert "A gap in the history" in gap.stderr


def test_without_the_nodes_token_there_is_nobody_to_ask(tmp_path):
    done = replay(tmp_path, 9, 0)
    assert done.returncode == 2
    assert "name its folder with --data-dir" in done.stderr
    assert list(tmp_path.iterdir()) == [], "no token is made"


def test_a_node_that_does_not_run(tmp_path):
    token = tmp_path / "admin.token"
    token.write_text("t\n")
    token.chmod(0o600)
    done = replay(tmp_path, 9, 0)
    assert done.returncode == 3
    assert done.stderr.startswith("metawatt: ERR_SOLANA_UNAVAILABLE: the node does not answer")
    assert "metawatt doctor" in done.stderr
