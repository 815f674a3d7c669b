"""What domain models that start from features and a spatial graph share."""
