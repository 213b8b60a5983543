"""What the fault suite shares."""

import pytest
from partialstate_service.store.open import open_store
from partialstate_service.store.settings import StoreSettings


@pytest.fixture
async def store(tmp_path):
    """A real, empty, embedded store that decides."""
    async with open_store(StoreSettings(data_dir=tmp_path / "store")) as store:
        await store.registry.mark_reconciled()
        yield store
