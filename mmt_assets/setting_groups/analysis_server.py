"""Settings of the analysis server: the Compute Engine machine that exists only while it works."""

from typing import Literal

from pydantic import Field, model_validator

from mmt_assets.setting_groups.google_cloud import GoogleCloudSettings
from mmt_assets.setting_groups.group import CommaSeparated, SettingsError

# What a worker is left of its machine's life, at least.
_LEAST_WORK_SECONDS = 60
_ENDPOINT = r"^https?://[^\s/]+$"


class AnalysisServerSettings(GoogleCloudSettings):
    """Where and from what the machine is made, how long it may take, what it costs."""

    zones: CommaSeparated = Field(
        ("asia-northeast3-a", "asia-northeast3-b", "asia-northeast3-c"),
        description="Zones in which the analysis server may start, in order of preference, separated by commas",
    )
    vm_lifecycle: Literal["ephemeral", "named"] = Field(
        "ephemeral", description="ephemeral: one machine for each run; named: one that is started and stopped"
    )
    vm_template: str | None = Field(
        None,
        pattern=r"^(projects/[^/]+/)?(global|regions/[^/]+)/instanceTemplates/[^/]+$",
        description="Instance template of ephemeral machines, as regions/REGION/instanceTemplates/NAME",
    )
    vm_name: str = Field(
        "mmt-analysis-server",
        pattern=r"^mmt-[a-z0-9-]{0,57}[a-z0-9]$",
        description="Name of the named machine, in the first zone; it starts with mmt-, as the permissions want it",
    )
    vm_spot: bool = Field(
        True, description="Spot machines first, on demand where there are none or they are taken away"
    )
    vm_machine_type: str | None = Field(None, description="Machine type; default the template's")
    vm_disk_gb: int | None = Field(None, ge=10, description="Size of the boot disk; default the template's")
    vm_service_account: str | None = Field(None, description="Identity of the machine; default the template's")
    vm_scopes: CommaSeparated = Field((), description="OAuth scopes of that identity; default the template's")
    vm_external_ip: bool = Field(False, description="Whether the machine may have an external address")
    vm_boot_seconds: float = Field(900, gt=0, description="From the start of the machine to the worker's first word")
    vm_silence_seconds: float = Field(900, gt=0, description="Longest silence of a worker at work")
    vm_max_seconds: int = Field(7200, gt=0, description="Longest life of a machine; Compute Engine ends it then")
    vm_gone_seconds: float = Field(180, gt=0, description="How long a run waits to see its machine gone")
    vm_reaper_seconds: int = Field(30, ge=1, description="How often machines without a living run are looked for")
    vm_price_per_second: float | None = Field(None, ge=0, description="Price of a second on demand; unset, no costs")
    vm_spot_price_per_second: float | None = Field(None, ge=0, description="Price of a second of Spot")
    vm_price_currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="Currency of the prices")
    deployment: str = Field(
        "mmt-assets",
        pattern=r"^[a-z0-9_-]{1,63}$",
        description="Whose machines: the label by which two Dagsters in one project tell theirs apart",
    )
    pipes_bucket: str | None = Field(None, description="Bucket of the worker's messages; default <project>-mmt-pipes")
    git_url: str | None = Field(None, description="Repository that the machine checks out, by https")
    git_ref: str | None = Field(
        None, pattern=r"^[0-9a-f]{40}$", description="Commit that it checks out; default the one that runs here"
    )
    compute_endpoint: str | None = Field(None, pattern=_ENDPOINT, description="A test server for Compute Engine")
    storage_endpoint: str | None = Field(None, pattern=_ENDPOINT, description="A test server for Cloud Storage")

    @model_validator(mode="after")
    def _leaves_time_to_work(self) -> "AnalysisServerSettings":
        if self.vm_max_seconds < self.vm_boot_seconds + _LEAST_WORK_SECONDS:
            raise ValueError(
                f"MMT_VM_MAX_SECONDS {self.vm_max_seconds} leaves no time to work: at least {_LEAST_WORK_SECONDS} s "
                f"more than MMT_VM_BOOT_SECONDS {self.vm_boot_seconds:g}"
            )
        return self

    def bucket_name(self) -> str:
        """Bucket of the worker's messages.

        Raises:
            SettingsError: Neither `MMT_PIPES_BUCKET` nor `MMT_PROJECT` is set.
        """
        return self.pipes_bucket or f"{self.project_id()}-mmt-pipes"

    def template_path(self) -> str:
        """Instance template of ephemeral machines, with the project.

        Raises:
            SettingsError: `MMT_VM_TEMPLATE` is unset.
        """
        if self.vm_template is None:
            raise SettingsError(
                "MMT_VM_TEMPLATE is unset: it names the instance template of the analysis server "
                "(regions/REGION/instanceTemplates/NAME), which infra/analysis_server.tf makes"
            )
        has_project = self.vm_template.startswith("projects/")
        return self.vm_template if has_project else f"projects/{self.project_id()}/{self.vm_template}"

    def price_per_second(self, *, is_spot: bool) -> float | None:
        """Price of a second; of Spot the price on demand where no other is set, which it never exceeds."""
        spot = self.vm_spot_price_per_second
        return spot if is_spot and spot is not None else self.vm_price_per_second
