"""In and out: other frameworks' ways to reach a Striate network. Each module says what it supports and is imported when used.

striate.interop.sklearn   ConvNetClassifier and ConvNetRegressor, scikit-learn estimators
"""

from __future__ import annotations
