"""The networks: encoders, the audio-visual model, the student and where its cells lie."""
