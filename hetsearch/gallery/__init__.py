"""Galleries: vectors and their items on disk, and the jobs that make them. Needs ``hetsearch[gallery]``."""

from hetsearch.gallery.backfill import backfill_gallery
from hetsearch.gallery.build import build_gallery
from hetsearch.gallery.card import GalleryCard
from hetsearch.gallery.choice import Candidate, Choice
from hetsearch.gallery.compact import compact_gallery
from hetsearch.gallery.estimate import Estimate
from hetsearch.gallery.gallery import Gallery, open_gallery
from hetsearch.gallery.hits import Hit, Hits
from hetsearch.gallery.ids import stable_id, stable_ids
from hetsearch.gallery.limits import Limits
from hetsearch.gallery.plan import plan_gallery
from hetsearch.gallery.ray_embed import RayRunner
from hetsearch.gallery.report import BuildReport, CompactReport, UpdateReport, UpgradeReport
from hetsearch.gallery.store import GalleryStore
from hetsearch.gallery.update import delete_items, update_gallery
from hetsearch.gallery.upgrade import commit_upgrade, rollback_upgrade, upgrade_gallery
from hetsearch.gallery.verify import VerifyReport, verify_gallery

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
