from benchmarks.chaos_draw import Role
from benchmarks.chaos_roles import Process, roles, targets

PYTHON = "/v/bin/python"
LOCUST = f"{PYTHON} -P -m loadtest.system.own_locust -f locustfile.py"
# As `ps` has them: id, parent's, name, command line
RUN = """
 1   0 init     /sbin/init
 9   1 bash     bash -c pkill haproxy raylet profiles.sampler.main loadtest.system.own_locust
10   9 viralload /v/bin/python /v/bin/viralload run x.toml
11  10 python   /v/bin/python -P -m serve.app --check --settings {}
12  10 python   /v/bin/python -P -m serve.app --settings {}
13  12 haproxy  /r/haproxy -db -f /dev/stdin
14  12 gcs_server /r/gcs_server --log_dir=/tmp/viralload-x/r
15  12 python   /v/bin/python -u /r/log_monitor.py --session-dir=/tmp/viralload-x/r
16  12 raylet   /r/raylet --raylet_socket_name=/tmp/viralload-x/r
17  16 ray::Das ray::DashboardAgent
18  16 ray::Pro ray::ProxyActor
19  16 ray::S   ray::ServeController
20  16 ray::S   ray::ServeReplica:images:image-stub
21  16 ray::S   ray::ServeReplica:images:image-stub
22  12 sh       /bin/sh -c read guard /tmp/viralload-x 13 14 16 raylet haproxy gcs_server
23  10 python   /v/bin/python -P -m profiles.sampler /runs/x --parent 10
24  10 python   LOCUST
25  24 python   LOCUST
26  24 python   LOCUST
40   9 viralload /v/bin/python /v/bin/viralload run other.toml
41  40 python   LOCUST
42  40 haproxy  /r/haproxy -db
"""


def listed(text: str) -> list[Process]:
    rows = [line.split(None, 3) for line in text.strip().splitlines()]
    return [
        Process(pid=int(a), parent=int(b), name=c, words=tuple(d.replace("LOCUST", LOCUST).split()))
        for a, b, c, d in rows
    ]


def hit(role: Role) -> list[int]:
    return [process.pid for process in targets(roles(listed(RUN), {10: "driver"}), role)]


def test_each_role_is_one_process_of_this_run() -> None:
    assert hit("driver") == [10]
    assert hit("server") == [12]  # not the one that only looks at the settings
    assert hit("haproxy") == [13]  # not a shell that names it, not another run's
    assert hit("gcs") == [14]
    assert hit("raylet") == [16]
    assert hit("controller") == [19]
    assert hit("replica") == [21]
    assert hit("replicas") == [20, 21]
    assert hit("sampler") == [23]
    assert hit("generator") == hit("master") == [24]
    assert hit("one generator") == [26]
    assert hit("worker") == []


def test_somebody_elses_server_and_workers_are_roots_of_their_own() -> None:
    processes = listed(f"""
10  1 viralload /v/bin/viralload run x.toml --host http://127.0.0.1:1 --expect-workers 2
24 10 python {LOCUST} --master
50  1 python /v/bin/python -P -m serve.app --settings {{}}
51 50 haproxy /r/haproxy -db
60  1 viralload /v/bin/viralload worker 127.0.0.1:5
61 60 python {LOCUST} --worker
62  1 viralload /v/bin/viralload worker 127.0.0.1:5
63 62 python {LOCUST} --worker
""")
    found = roles(processes, {10: "driver", 50: "server", 60: "worker", 62: "worker"})
    told = {role: [process.pid for process in each] for role, each in found.items()}
    assert told == {
        "driver": [10], "generator": [24], "server": [50], "haproxy": [51],
        "worker": [60, 62], "worker's generator": [61, 63],
    }  # fmt: skip
    assert [one.pid for one in targets(found, "worker's generator")] == [63]
    assert [one.pid for one in targets(found, "master")] == [24]


def test_nothing_is_hit_that_is_not_there() -> None:
    assert targets(roles(listed(RUN), {99: "driver"}), "driver") == []
    assert hit("worker's generator") == []
