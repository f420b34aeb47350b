"""The manifests: by the schemas of Kubernetes, and against the server, the image and each other."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from kubernetes_validate import latest_version, validate

from holdfast.server.settings import Settings

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy" / "kubernetes"
COMPONENTS = ("autoscaling", "monitoring", "store", "bundle-image")
VERSIONS = ("1.33", latest_version())
CLOSE_S = 5
"""Seconds that the server takes at most to close and end, after notice and grace."""
THEIR_KINDS = {"Kustomization", "Component", "PodMonitor"}
"""Those whose schemas are not Kubernetes' own."""


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def base():
    return [each for path in sorted((MANIFESTS / "base").glob("*.yaml")) for each in documents(path.read_text())]


def one(manifests, kind, name="holdfast"):
    (found,) = (each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def pod_of(manifests):
    return one(manifests, "Deployment")["spec"]["template"]


def container_of(manifests):
    (container,) = pod_of(manifests)["spec"]["containers"]
    return container


@pytest.fixture(scope="module", params=[*((name,) for name in COMPONENTS), ("autoscaling", "monitoring", "bundle-image")])
def built(request, tmp_path_factory):
    """The base with components, as kubectl puts them together."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed; it puts components together")
    folder = tmp_path_factory.mktemp("kubernetes") / "kubernetes"
    shutil.copytree(MANIFESTS, folder)
    (folder / "ours").mkdir()
    components = [f"../{name}" for name in request.param]
    (folder / "ours" / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["../base"], "components": components}))
    done = subprocess.run([kubectl, "kustomize", folder / "ours"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def assert_valid(manifests):
    for manifest in manifests:
        if manifest["kind"] not in THEIR_KINDS:
            for version in VERSIONS:
                validate(manifest, version, strict=True)


def test_the_base_is_valid():
    manifests = base()
    kinds = {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}
    assert kinds <= {each["kind"] for each in manifests}
    assert_valid(manifests)


def test_every_component_is_valid(built):
    assert_valid(built)
    for each in (*pod_of(built)["spec"].get("initContainers", ()), container_of(built)):
        assert {mount["name"] for mount in each["volumeMounts"]} <= {v["name"] for v in pod_of(built)["spec"]["volumes"]}
        assert each["resources"]["limits"]["memory"]
        assert each["securityContext"]["readOnlyRootFilesystem"] is True
    for volume in pod_of(built)["spec"]["volumes"]:
        assert len(volume) == 2, volume  # its name, and one source


def test_selectors_find_the_pods_and_no_others():
    manifests = base()
    labels = pod_of(manifests)["metadata"]["labels"]
    assert labels
    selectors = [one(manifests, "Deployment")["spec"]["selector"]["matchLabels"]]
    selectors += [one(manifests, "Service", name)["spec"]["selector"] for name in ("holdfast", "holdfast-pods")]
    selectors += [one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]]
    selectors += [one(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]]
    (monitor,) = documents((MANIFESTS / "monitoring" / "monitor.yaml").read_text())
    selectors += [monitor["spec"]["selector"]["matchLabels"]]
    assert [each for each in selectors if each != labels] == []


def test_the_pod_has_no_rights_that_it_does_not_need():
    manifests = base()
    pod, container = pod_of(manifests)["spec"], container_of(manifests)
    (uid,) = re.findall(r"--uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert pod["securityContext"]["runAsUser"] == int(uid)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    security = container["securityContext"]
    assert (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (False, True)
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not any({"hostPath", "hostNetwork"} & set(each) for each in (pod, *pod["volumes"]))


def test_its_variables_are_settings_that_the_server_takes(built):
    for container in (container_of(base()), container_of(built)):
        variables = {each["name"]: each["value"] for each in container["env"]}
        assert variables
        values = {name.removeprefix("HOLDFAST_").lower(): value for name, value in variables.items()}
        assert set(values) <= set(Settings.model_fields)
        Settings(bundle=Path("/bundle"), **values)


def test_it_is_given_the_time_to_drain():
    spec, image = pod_of(base())["spec"], (ROOT / "Dockerfile").read_text()
    variables = {each["name"]: float(each["value"]) for each in container_of(base())["env"]}
    seconds = variables["HOLDFAST_DRAIN_NOTICE"] + variables["HOLDFAST_DRAIN_GRACE"]
    assert spec["terminationGracePeriodSeconds"] >= seconds + CLOSE_S
    # Nodes and balancers hear of the end within seconds: the notice is not shorter than the image's own.
    assert variables["HOLDFAST_DRAIN_NOTICE"] >= float(re.findall(r"HOLDFAST_DRAIN_NOTICE=(\d+)", image)[0])


def test_ports_and_probes_are_where_the_server_listens():
    manifests = base()
    container = container_of(manifests)
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"grpc": Settings.model_fields["port"].default, "metrics": Settings.model_fields["metrics_port"].default}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["grpc"]["port"] == ports["grpc"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    served = {
        each["targetPort"]
        for name in ("holdfast", "holdfast-pods")
        for each in one(manifests, "Service", name)["spec"]["ports"]
    }
    (monitor,) = documents((MANIFESTS / "monitoring" / "monitor.yaml").read_text())
    watched = {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]}
    allowed = {port["port"] for rule in one(manifests, "NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]}
    assert served | watched | allowed == set(ports)


def test_the_autoscaler_asks_for_what_the_adapter_serves():
    (scaler,) = documents((MANIFESTS / "autoscaling" / "autoscaler.yaml").read_text())
    (adapter,) = documents((MANIFESTS / "autoscaling" / "adapter.yaml").read_text())
    asked = {each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"]}
    assert asked == {each["name"]["as"] for each in adapter["rules"]["custom"]}
    assert scaler["spec"]["scaleTargetRef"]["name"] == one(base(), "Deployment")["metadata"]["name"]


def test_every_file_is_part_of_something():
    for folder in ("base", *COMPONENTS):
        (kustomization,) = documents((MANIFESTS / folder / "kustomization.yaml").read_text())
        named = {
            *kustomization.get("resources", ()),
            *(each["path"] for each in kustomization.get("patches", ()) if "path" in each),
        }
        there = {path.name for path in (MANIFESTS / folder).iterdir()} - {"kustomization.yaml"}
        assert there - named <= {"adapter.yaml"}  # values of a chart
        assert named <= there
