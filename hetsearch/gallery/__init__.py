"""Galleries: vectors and their items on disk, and the jobs that make them. Needs ``hetsearch[gallery]``."""

from hetsearch.gallery.card import GalleryCard
from hetsearch.gallery.choosing.choice import Candidate, Choice
from hetsearch.gallery.choosing.limits import Limits
from hetsearch.gallery.embedding.ray_embed import RayRunner
from hetsearch.gallery.gallery import Gallery, open_gallery
from hetsearch.gallery.hits import Hit, Hits
from hetsearch.gallery.ids import stable_id, stable_ids
from hetsearch.gallery.jobs.backfill import backfill_gallery
from hetsearch.gallery.jobs.build import build_gallery
from hetsearch.gallery.jobs.compact import compact_gallery
from hetsearch.gallery.jobs.estimate import Estimate
from hetsearch.gallery.jobs.plan import plan_gallery
from hetsearch.gallery.jobs.report import BuildReport, CompactReport, UpdateReport, UpgradeReport
from hetsearch.gallery.jobs.update import delete_items, update_gallery
from hetsearch.gallery.jobs.upgrade import commit_upgrade, rollback_upgrade, upgrade_gallery
from hetsearch.gallery.jobs.verify import VerifyReport, verify_gallery
from hetsearch.gallery.stores.store import GalleryStore

__all__ = [
    "BuildReport",
    "Candidate",
    "Choice",
    "CompactReport",
    "Estimate",
    "Gallery",
    "GalleryCard",
    "GalleryStore",
    "Hit",
    "Hits",
    "Limits",
    "RayRunner",
    "UpdateReport",
    "UpgradeReport",
    "VerifyReport",
    "backfill_gallery",
    "build_gallery",
    "commit_upgrade",
    "compact_gallery",
    "delete_items",
    "open_gallery",
    "plan_gallery",
    "rollback_upgrade",
    "stable_id",
    "stable_ids",
    "update_gallery",
    "upgrade_gallery",
    "verify_gallery",
]
