from tests.exported import digits, encoder, exported, exported_half

__all__ = ["digits", "encoder", "exported", "exported_half"]
