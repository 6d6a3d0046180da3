"""Networks: timm backbones, involution, the compact hybrid; one registry."""
