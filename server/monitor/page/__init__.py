"""What the live page shows of answers and metrics, and the attack of its bench. Knows neither HTTP nor the store."""
