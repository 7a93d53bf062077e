"""What people and programs see: REST, server-sent events, WebRTC and the viewer."""
