"""Attempts to get in where nobody should: paths, other sites, other servers, floods of bytes, names with markup."""

import io
import socket
import zipfile

import httpx
import pytest

from app.viewer.guard import MAX_BODY_BYTES, DoorSettings, read_passwords
from app.viewer.server import MAX_UPLOAD_FILE_BYTES
from scene3d.errors import InputError
from tests.app.viewer.sites import PAGE_MARKS, open_site, write_sphere

pytestmark = PAGE_MARKS

MARKUP = '<img src=x onerror="window.harmed=1">'


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doors")
    (folder / "secret.txt").write_text("treasure")
    with open_site(folder / "root", extra=write_sphere(folder)) as site:
        (site.root / "secret.txt").write_text("treasure")
        yield site


@pytest.fixture(scope="module")
def client(site):
    with httpx.Client(base_url=site.url, timeout=60, trust_env=False) as client:
        yield client


def assert_refused(response):
    assert response.status_code >= 400
    assert "treasure" not in response.text
    assert "root:" not in response.text


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../secret.txt",
        "../../../../etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
        "http://169.254.169.254/latest/meta-data/",
        "/proc/self/environ",
    ],
)
def test_gradio_serves_no_file_by_path(client, path):
    for prefix in ("/file=", "/gradio_api/file="):
        assert_refused(client.get(prefix + path))


def test_gradio_serves_no_file_of_the_workspace(client, site):
    assert_refused(client.get(f"/gradio_api/file={site.root / 'secret.txt'}"))
    assert_refused(client.get(f"/gradio_api/file={site.root / '.scene3d' / 'jobs'}"))


@pytest.mark.parametrize(
    "artifact",
    [
        "secret.txt",
        "../secret.txt",
        "..%2Fsecret.txt",
        "%2e%2e/%2e%2e/etc/passwd",
        "export/../../secret.txt",
        "export/.hidden",
        "render/..%2F1.png",
        "photo/0.jpg",
        "thumb/99999999.jpg",
        "light-zzz.spz",
        "config.yaml",
        "C:\\secret.txt",
        "scene.ply%00.txt",
    ],
)
def test_only_known_artifacts_are_served(client, artifact):
    assert_refused(client.get(f"/scene3d-data/sphere.ply/{artifact}"))


@pytest.mark.parametrize("run", ["..", "%2e%2e", "..~..", "/etc", "no such run", "sphere.ply%2F..", MARKUP])
def test_a_run_is_looked_up_in_the_list_and_never_opened_as_a_path(client, run):
    response = client.get(f"/scene3d-api/runs/{run}/scene")
    assert_refused(response)
    assert "<img" not in response.text


@pytest.mark.parametrize(
    "file",
    [
        {"path": "/etc/passwd"},
        {"path": "../../secret.txt"},
        {"path": "x", "url": "http://127.0.0.1:1/internal"},
        {"path": "x", "url": "http://169.254.169.254/latest/"},
        {"path": "http://127.0.0.1:1/internal", "url": "http://127.0.0.1:1/internal"},
    ],
)
def test_no_upload_can_name_a_file_or_an_address(client, site, file):
    record = {**file, "orig_name": "a.zip", "meta": {"_type": "gradio.FileData"}}
    config = client.get("/config").json()
    number = next(each["id"] for each in config["dependencies"] if len(each["inputs"]) == 2 and each["outputs"])
    body = {"data": ["stolen", [record]], "fn_index": number, "session_hash": "abcdefghij"}
    joined = client.post("/gradio_api/queue/join", json=body)
    text = joined.text
    if joined.status_code == 200:
        text = client.get("/gradio_api/queue/data", params={"session_hash": "abcdefghij"}).text
    assert "treasure" not in text
    assert "root:" not in text
    assert not (site.root / "captures" / "stolen").exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_other_sites_may_not_act_here(client, headers):
    response = client.post("/scene3d-api/runs/sphere.ply/share", json={}, headers=headers)
    assert response.status_code == 403
    assert "error" in response.json()


def answer_to_claim(site, path: str, length: int) -> str:
    """The first line of the answer to a request that only claims to hold so many bytes."""
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
        return connection.recv(200).decode(errors="replace").splitlines()[0]


def test_too_much_is_refused_before_it_arrives(site):
    assert " 413 " in answer_to_claim(site, "/scene3d-api/runs/sphere.ply/pick", MAX_BODY_BYTES + 1)
    assert " 413 " in answer_to_claim(site, "/gradio_api/upload", 64 << 30)
    assert DoorSettings().max_upload_bytes > MAX_UPLOAD_FILE_BYTES


def test_too_much_is_refused_while_it_arrives(client):
    flood = (b" " * 65536 for _ in range(MAX_BODY_BYTES // 65536 + 2))
    assert client.post("/scene3d-api/runs/sphere.ply/pick", content=flood).status_code == 413


@pytest.mark.parametrize(
    "query",
    [
        "size=99999x99999&pose=0,0,0,1,0,0,0,45",
        "size=-1x5&pose=0,0,0,1,0,0,0,45",
        "size=axb&pose=0,0,0,1,0,0,0,45",
        "size=64x64&pose=nan,0,0,1,0,0,0,45",
        "size=64x64&pose=0,0,0,0,0,0,0,45",
        "size=64x64&pose=1,2,3",
        "size=64x64&pose=0,0,0,1,0,0,0,400",
        "size=64x64&view=0",
        "size=64x64&pose=0,0,0,1,0,0,0,45&shown=secrets",
        "size=64x64&pose=0,0,0,1,0,0,0,45&shown=origin",
        "pose=0,0,0,1,0,0,0,45",
    ],
)
def test_pictures_that_make_no_sense_are_refused_by_name(client, query):
    response = client.get(f"/scene3d-frame/sphere.ply?{query}")
    assert 400 <= response.status_code < 500
    assert response.json()["error"]


def test_ranges_and_etags_are_honoured(client, site):
    info = client.get("/scene3d-api/runs/sphere.ply/scene").json()
    path = f"/scene3d-data/sphere.ply/{info['light']['file']}"
    whole = client.get(path)
    part = client.get(path, headers={"Range": "bytes=4-11"})
    assert (part.status_code, part.content) == (206, whole.content[4:12])
    again = client.get(path, headers={"If-None-Match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_page_tells_the_browser_to_load_nothing_from_elsewhere(client):
    headers = client.get("/").headers
    assert "connect-src 'self' data: blob:" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "http:" not in headers["content-security-policy"]


def test_uploaded_bombs_and_traversals_leave_nothing_behind(client, site):
    from app.viewer.uploads import admit

    bombs = {"slip": make_zip({"../../slip.jpg": b"x"}), "bomb": make_zip({"a.jpg": bytes(80 << 20)}), "none": b"PK"}
    uploads = site.services.workspace.private / "uploads"
    for name, content in bombs.items():
        path = uploads / f"{name}.zip"
        path.write_bytes(content)
        with pytest.raises(Exception, match=r"leaves its folder|inflates to more|no zip archive"):
            admit(site.services.workspace, name, [path])
        assert not path.exists()
        assert not (site.root / "captures" / name).exists()
    assert not list(site.root.rglob("slip.jpg"))


def test_a_file_that_is_no_upload_is_not_taken(site, tmp_path):
    from app.viewer.uploads import admit

    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="no uploads"):
        admit(site.services.workspace, "stolen", [tmp_path / "a.jpg"])
    assert (tmp_path / "a.jpg").exists()


def test_names_with_markup_are_shown_as_text():
    from app.viewer.panels.capture import show_findings
    from scene3d.data.capture import Finding, Severity

    shown = show_findings(MARKUP, [Finding(severity=Severity.WARNING, what=MARKUP, where=MARKUP, remedy=MARKUP)])
    assert "<img" not in shown
    assert "&lt;img" in shown


def test_passwords_are_asked_for_everything(tmp_path):
    with open_site(tmp_path / "root", passwords={"ada": "difference engine"}) as site:
        for path in ("/", "/config", "/scene3d-assets/scene.js", "/scene3d-api/jobs", "/gradio_api/info"):
            refused = httpx.get(site.url + path, trust_env=False)
            assert (refused.status_code, "Basic" in refused.headers["www-authenticate"]) == (401, True)
        for wrong in (("ada", "wrong password"), ("eve", ""), ("", ""), ("ada", "")):
            assert httpx.get(site.url + "/scene3d-api/jobs", auth=wrong, trust_env=False).status_code == 401
        right = httpx.get(site.url + "/scene3d-api/jobs", auth=("ada", "difference engine"), trust_env=False)
        assert right.json() == {"jobs": []}


def test_a_password_file_others_can_read_is_refused(tmp_path):
    path = tmp_path / "who.txt"
    path.write_text("# people\nada:difference engine\n")
    path.chmod(0o644)
    with pytest.raises(InputError, match="others may read"):
        read_passwords(path)
    path.chmod(0o600)
    assert read_passwords(path) == {"ada": "difference engine"}
    path.write_text("ada:short\n")
    with pytest.raises(InputError, match="shorter than"):
        read_passwords(path)
    path.write_text("nobody\n")
    with pytest.raises(InputError, match="name:password"):
        read_passwords(path)


def make_zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()
